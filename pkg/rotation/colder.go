package rotation

import (
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/internal/plain"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// withRemedies adds what helps to those who keep a gate closed and whom this plan knows no way
// to reach: a revision or a workload that has come since, and is colder than all that it
// was made for. A restart of either is safe behind any write: whatever starts loads what
// the Secret, or its istiod, holds by then, and every proxy was proven to accept that.
func (r *run) withRemedies(s *mesh.Snapshot, status Status) Status {
	colder := map[string]string{}
	for _, plane := range s.ControlPlanes {
		roots, signer := inPlace(plane)
		planned := slices.ContainsFunc(r.plan.Revisions, func(v Revision) bool { return v.Name == plane.Namespace+"/"+plane.Name })
		if planned || roots && signer {
			continue
		}
		hint := "; it loads a changed CA when it starts, and not in place: " + rolled("deployment", plane.Namespace, plane.Name)
		colder[plane.Namespace+"/"+plane.Name] = hint
		for _, replica := range plane.Replicas {
			colder[plane.Namespace+"/"+replica.Pod] = hint
		}
	}
	status = keeping(s, status)
	for _, p := range s.Proxies {
		if r.plan.Strategy != HotBundle {
			break // whose renewals are waited for anyway
		}
		if colder[p.Ref()] == "" && (p.Reach == mesh.ReachRenewal || p.Reach == mesh.ReachRestart) {
			colder[p.Ref()] = "; no push reaches it" + sooner(p)
		}
	}
	if len(colder) == 0 {
		return status
	}
	status.Blockers = slices.Clone(status.Blockers)
	for i, b := range status.Blockers {
		if (b.Kind == "istiod" || b.Kind == "proxy") && !b.Unknown {
			status.Blockers[i].Why += colder[b.Object]
		}
	}
	return status
}

// trustsOthers begins what is said of a proxy that trusts more than is asked for.
const trustsOthers = "it still trusts other roots"

// keeping says of those who still trust an old root that renewals may not help them: what
// istiods with ISTIO_MULTIROOT_MESH have pushed an agent adds to every answer until its
// process ends, and without the flag nothing is pushed any more (istio 1.30.3
// security/pkg/nodeagent/cache/secretcache.go:1124, 1145, pilot/pkg/xds/pcds.go:33).
func keeping(s *mesh.Snapshot, status Status) Status {
	if slices.ContainsFunc(s.ControlPlanes, func(plane mesh.ControlPlane) bool { return plane.Flags.MultiRoot }) {
		return status
	}
	kept := map[string]mesh.Proxy{}
	for _, p := range s.Proxies {
		if p.XDSAgent {
			kept[p.Ref()] = p
		}
	}
	status.Blockers = slices.Clone(status.Blockers)
	for i, b := range status.Blockers {
		if p, ok := kept[b.Object]; ok && b.Kind == "proxy" && strings.HasPrefix(b.Why, trustsOthers) {
			status.Blockers[i].Why += "; where ISTIO_MULTIROOT_MESH was on while its agent ran, it keeps what was pushed then until its agent is started anew; that is done" + replaced(p)
		}
	}
	return status
}

// sooner says when a proxy follows by itself, and what has it follow at once.
func sooner(p mesh.Proxy) string {
	text := ""
	if p.Reach == mesh.ReachRenewal {
		text = ": it follows with its next certificate, within " + p.RenewsWithin().Round(time.Second).String()
	}
	return text + "; at once" + replaced(p)
}

// replaced is how a proxy's pod is.
func replaced(p mesh.Proxy) string {
	switch kind := strings.ToLower(p.Workload.Kind); kind {
	case "deployment", "statefulset", "daemonset":
		return " by " + rolled(kind, p.Namespace, p.Workload.Name)
	}
	return " when its pod is replaced: kubectl delete pod " + plain.Word(p.Name) + " -n " + plain.Word(p.Namespace)
}
