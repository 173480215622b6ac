package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// Citadel is the refusal that --untested answers on meshes of Istio 1.0 to 1.3.
const Citadel = "citadel"

// citadelWait bounds how long a Citadel mesh takes to follow its root: a resync of a
// minute that writes the Secrets (istio 1.1.8
// security/pkg/k8s/controller/workloadsecret.go:55), kubelet's refresh of the mounted
// files, and the agent that restarts Envoy on them.
const citadelWait = 4 * time.Minute

// citadelWrite is what each Secret takes beside: a key, and two requests by a client
// that is bounded at five a second (istio 1.4.10 workloadsecret.go, scrtUpdated, and
// client-go's default). A real 1.4.10 begins 60 seconds after its start and writes 48
// in 25 seconds.
const citadelWrite = 600 * time.Millisecond

// refuseCitadel refuses what a Citadel cannot do: it has one root and hands out one,
// so that only a root of the same key reaches everybody without loss.
func (p *Plan) refuseCitadel(s *mesh.Snapshot, ca mesh.CASource, object string) {
	p.Layout, p.citadel = mesh.CASelfSigned, true
	if !p.reissue {
		p.refuse("citadel-key", object, "this mesh is of the time of Citadel (Istio 1.0 to 1.4), whose proxies trust one root at a time: a root of another key would have them refuse each other",
			"renew the root with its own key: 'kubectl meshca rotate --strategy same-key', or upgrade to istiod first. "+byHand(s))
	}
	if ca.Secret != "istio-ca-secret" {
		p.refuse("citadel-plugged", object, "its CA is plugged in by "+ca.Secret+": that of a Citadel is not written here",
			"for another intermediate under the same root replace ca-cert.pem, ca-key.pem and cert-chain.pem, leave root-cert.pem byte for byte, and restart Citadel, which reads its files at its start alone: no outage, certificates of before go on for half their life. For another root: "+byHand(s))
	}
	if who, release := beforeProven(s); who != "" {
		p.refuse(Citadel, who, fmt.Sprintf("this mesh is of the time of Citadel, and it runs %s: the renewal is proven on a real 1.4; on releases before it in memory alone, by the rules of their source", release), "try it on a mesh that may fail first; --untested goes on at your own risk")
	}
	p.warnRootRenewal(s)
	p.warnSDS(s)
	p.warnHotRestarts(s)
	if s.MTLS.ControlPlaneAuthPolicy == mesh.MutualTLS {
		for _, c := range s.Components {
			if c.Role == "pilot" && !c.Sidecar {
				p.warn("pilot-without-sidecar", "pilot "+c.Namespace+"/"+c.Pod, "it has no sidecar, and the control plane is secured: it judges by the root of its own start, until that ends",
					"afterwards restart Galley, then Pilot: 'kubectl meshca check' names those that need it")
			}
		}
	}
	for _, proxy := range s.Proxies {
		if release, _ := proxy.ReleaseOf(); proxy.Reach != mesh.ReachRestart && olderThanDocumented(release) {
			p.warn("citadel-sidecar", "proxy "+proxy.Ref(), "it runs "+release+": Istio's own procedure asks for 1.0.8, 1.1.8 or later first", "upgrade its sidecar, or watch that it follows: its gate says so")
		}
	}
}

// byHand is what a root of another key takes on a Citadel mesh, and what fails
// meanwhile: every Secret is rewritten within citadelSpan, pod by pod as kubelet brings
// it, and whoever has followed and whoever has not trust different roots.
func byHand(s *mesh.Snapshot) string {
	return fmt.Sprintf("By hand, in a window in which calls may fail: back up the Secret, write the new CA, restart Citadel, which writes its %d workload Secrets anew; "+
		"calls between workloads that have and have not followed fail until the last has, in %s or so, and longer for sidecars 1.1.3 to 1.1.7, whose pods you restart; "+
		"then restart Galley, Pilot and the injector, and 'kubectl meshca verify' says who is left", len(s.WorkloadSecrets), citadelSpan(s))
}

// citadelSpan is how long the whole mesh takes to follow.
func citadelSpan(s *mesh.Snapshot) time.Duration {
	return citadelWait + (time.Duration(len(s.WorkloadSecrets)) * citadelWrite).Truncate(time.Second)
}

// warnSDS names those who wait for a node's agent, and what has it ask at once: started
// anew it has nothing, and its proxies, which it reconnects to, get what Citadel gives then
// (istio 1.4.10 security/pkg/nodeagent/cache/secretcache.go; it keeps secrets in memory alone).
func (p *Plan) warnSDS(s *mesh.Snapshot) {
	longest, lagging := citadelSlowest(s)
	if len(lagging) == 0 {
		return
	}
	p.warn("citadel-by-sds", "proxy "+lagging[0], fmt.Sprintf("it and all others that get their certificates by SDS follow with their next ones, within %s at most: the gate waits for them", longest.Round(time.Minute)),
		"once every Secret is renewed restart the node agents: kubectl -n "+p.Namespace+" delete pod -l istio=nodeagent")
}

// warnHotRestarts says what new files cost: an agent starts another Envoy beside the one
// that runs, which stops accepting, drains, and is ended with the connections that it still
// has (istio 1.4.10 pkg/envoy/proxy.go, --drain-time-s and --parent-shutdown-time-s; 45 s
// and 1m by install/kubernetes/helm/istio/templates/configmap.yaml of 1.0 to 1.4).
func (p *Plan) warnHotRestarts(s *mesh.Snapshot) {
	files := slices.DeleteFunc(slices.Clone(s.Proxies), func(p mesh.Proxy) bool { return p.BySDS() || p.Reach == mesh.ReachRestart })
	if len(files) == 0 {
		return
	}
	p.warn("envoy-hot-restart", "proxy "+files[0].Ref(), fmt.Sprintf("its agent restarts its Envoy hot on the new files, as do those of all %d proxies that get their certificates as files: new connections are served all the while; those that are open then are cut when the old Envoy ends, a minute later (parentShutdownDuration), as at every renewal of its certificate", len(files)),
		"choose an hour in which long connections, such as streams, databases and web sockets, may be cut, and see that their clients connect again")
}

// citadelSlowest is how long its last proxy takes to follow, and names those that are last:
// by files as long as the whole mesh, by SDS as long as the certificate lives that it has, for
// when its node's agent asks again is that agent's own (istio 1.4.10
// security/cmd/node_agent_k8s/main.go:250, SECRET_GRACE_DURATION: 12 h of 24 h; 1.1.8: 1 h).
func citadelSlowest(s *mesh.Snapshot) (longest time.Duration, lagging []string) {
	longest = citadelSpan(s)
	for _, proxy := range s.Proxies {
		if !proxy.BySDS() {
			continue
		}
		leaf := proxy.Loaded.Identities[0].Leaf()
		if leaf == nil || leaf.X509 == nil {
			continue
		}
		switch life := leaf.X509.NotAfter.Sub(leaf.X509.NotBefore); {
		case life > longest:
			longest, lagging = life, []string{proxy.Ref()}
		case life == longest && len(lagging) < 5:
			lagging = append(lagging, proxy.Ref())
		}
	}
	return longest, lagging
}

// warnRootRenewal says where Citadel's own renewal of the root competes with this one,
// or undoes its way back: the Secret has two writers from that moment on.
func (p *Plan) warnRootRenewal(s *mesh.Snapshot) {
	for _, plane := range s.ControlPlanes {
		rule, roots := plane.RootRenewal, plane.CA.Root.Certs
		if plane.CA.Kind != mesh.CACitadel || rule == nil || rule.Off() || len(roots) == 0 || roots[0].X509 == nil {
			continue
		}
		from := rule.From(roots[0])
		if s.ClusterTime().Before(from.Add(-citadelSpan(s))) {
			continue
		}
		object, own := "citadel "+plane.Namespace+"/"+plane.Name, fmt.Sprintf("from %s on it certifies its root anew by itself, at its next look (every %s)", stamp(from), time.Duration(rule.Every))
		if p.config.Back {
			p.warn("citadel-renews-root", object, own+": what this way back leads to is replaced by a third certificate of the same key then, and nobody looks on", "set CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL=0 on its Deployment first, or stay")
			continue
		}
		p.warn("citadel-renews-root", object, own+": where that comes before this rotation's write, this writes nothing and says that another has written; a way back lasts until its next look",
			"run it at once; where Citadel was first, 'kubectl meshca verify' and 'check' say who has not followed, and this plan is done")
	}
}

// beforeProven finds a Citadel or a sidecar of another release than the one whose
// renewal test/e2e has seen (row citadel-same-key). What tells no release is one.
func beforeProven(s *mesh.Snapshot) (who, release string) {
	proven := func(release string) bool { return !mesh.Before(release, "1.4.0") && mesh.Before(release, "1.5.0") }
	for _, plane := range s.ControlPlanes {
		if release := plane.Version; !proven(release) {
			return plane.Namespace + "/" + plane.Name, cmp.Or(release, "an unknown release")
		}
	}
	for _, proxy := range s.Proxies {
		if release, _ := proxy.ReleaseOf(); !proven(release) {
			return "proxy " + proxy.Ref(), cmp.Or(release, "an unknown release")
		}
	}
	return "", ""
}

// olderThanDocumented: istio.io v1.4, "Extending Self-Signed Certificate Lifetime".
func olderThanDocumented(release string) bool {
	return release != "" && (mesh.Before(release, "1.0.8") || !mesh.Before(release, "1.1.0") && mesh.Before(release, "1.1.8"))
}

// citadelSameKey is sameKey by a Citadel, which reads its Secret at its start alone.
// Envoys follow their files; those that are not restarted on new ones (sidecars 1.1.3
// to 1.1.7) lose their pods, in waves.
func (g ground) citadelSameKey() course {
	roots := func(certs []*pki.Certificate) Expectation {
		return Expectation{Citadel: true, Roots: certs, Trusted: certs}
	}
	return course{
		[]Step{{Phase: SwapTrust, Name: "renewed root", About: "every Secret of Citadel and every Envoy has the root's new certificate, of the same key", Signs: newSide, Roots: g.target,
			Restart: true, always: true, Waves: wavesMounted, expect: roots(g.new)}},
		[]Step{{Phase: Prepare, Name: "old certificate", About: "the root's old certificate is the mesh's, as before", Signs: oldSide, Roots: g.start,
			Restart: true, always: true, Waves: wavesMounted, expect: roots(g.old)}},
	}
}

// citadelReplica judges a Citadel: it answers to nobody here, so that what it has
// written since its start is its proof.
func (j *judgement) citadelReplica(_ mesh.ControlPlane, r mesh.Istiod) (why string, unknown bool, evidence string) {
	if slices.Contains(j.e.former, r.UID) {
		return "it has run since before this step: it is not restarted yet", false, ""
	}
	return "", false, "workload Secrets"
}

// secrets judges what Citadel has written for its workloads, by DER.
func (j *judgement) secrets() {
	if !j.e.Citadel || j.e.unpublished {
		return
	}
	for _, w := range j.s.WorkloadSecrets {
		why := ""
		if w.Error != "" {
			why = w.Error
		} else if j.e.Roots != nil && !w.Matches(j.e.Roots) { // nil asks for none in particular
			why = "it holds another root (" + difference(w.Roots, j.e.Roots) + ")"
		} else if answer := j.memo.Verify(pki.Question{Judge: pki.Envoy, Roots: w.Roots, Chain: w.Chain, At: j.s.ClusterTime(), Usage: pki.ClientAuth}); answer.Result != pki.Accepted {
			why = "its certificate would not be accepted: " + answer.Reason
		}
		j.status.Secrets.add(why == "")
		if why != "" {
			j.block("secret", w.Ref(), why)
		}
	}
	if len(j.s.WorkloadSecrets) == 0 {
		j.unknown("secret", "istio.*", "no Secret of Citadel's was seen in any namespace")
	}
	for _, g := range j.s.Gaps {
		if g.Resource == "secrets" {
			j.gap(g)
		}
	}
}

// mounted judges an Envoy whose certificates are files, by /certs: the first CA and
// the leaf of each live context, which is all that it shows.
func (j *judgement) mounted(l *proxy.Loaded) (why string, unknown bool) {
	if len(j.e.Trusted) != 1 || j.e.Trusted[0].X509 == nil {
		return "its certificates are files: only the first root of a bundle can be seen", true
	}
	root := j.e.Trusted[0].X509
	for _, c := range l.Contexts {
		switch {
		case c.SPIFFE == "": // a gateway's own credential
		case !c.LeafUntil.IsZero() && !j.s.ClusterTime().Before(c.LeafUntil):
			return "its certificate expired at " + stamp(c.LeafUntil), false
		case c.CASerial != root.SerialNumber.Text(16) || !c.CAFrom.Equal(root.NotBefore):
			return fmt.Sprintf("a live context trusts the root valid from %s, and not the one valid from %s", stamp(c.CAFrom), stamp(root.NotBefore)), false
		}
	}
	return "", false
}

// signerName is what signs, for people.
func (p *Plan) signerName() string {
	if p.citadel {
		return "Citadel"
	}
	return "istiod"
}
