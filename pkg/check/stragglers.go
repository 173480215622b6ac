package check

import (
	"cmp"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// stragglers names what a new root does not reach by istiod's own means, with what
// each needs. Virtual machines, pods without a proxy and
// nodes have rules of their own.
func stragglers(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	var kinds crowds[string]
	paused := map[string]bool{}
	for _, n := range s.Nodes {
		paused[n.Name] = !n.Ready
	}
	for _, p := range s.Proxies {
		for _, kind := range straggling(p, paused) {
			kinds.add(kind, p.Ref())
		}
	}
	for _, kind := range kinds.order {
		f := Finding{ID: "straggler-" + kind, Severity: pki.SeverityInfo, Object: crowd(kinds.refs[kind]), proxies: kinds.refs[kind]}
		f.Message, f.Hint = needs(kind)
		if kind == "paused-node" || kind == "output-certs" || kind == "file-mounted" || kind == "own-roots" {
			f.Severity = pki.SeverityWarning
		}
		all = append(all, f)
	}
	for _, m := range s.TrustMounts {
		f := Finding{ID: "trust-mount", Severity: pki.SeverityInfo, Object: "container " + m.Namespace + "/" + m.Pod + "/" + m.Container, Message: "it reads the mesh's roots from " + m.Path, Hint: "the file follows its ConfigMap within kubelet's refresh; see whether the application reads it again"}
		if m.Secret != "" {
			f.ID = "citadel-mount"
			f.Message = "it reads a certificate and the mesh's roots from " + m.Path + " (Secret " + m.Secret + "): without an Envoy nothing restarts it on new files, and what it has in memory ends with them"
			f.Hint = "the files follow their Secret within kubelet's refresh; where it reads them at its start alone, as a Prometheus may, restart it once the Secret is renewed: " + restartOf(m)
		}
		if m.Fixed {
			f.ID, f.Severity = "trust-mount-fixed", pki.SeverityWarning
			f.Message += ", mounted by subPath: kubelet never refreshes it"
			if m.Secret == "" {
				f.Hint = "restart it between trusting the new root and signing with it: " + restartOf(m)
			}
		}
		all = append(all, f)
	}
	return all, len(s.Proxies) + len(s.TrustMounts)
}

// straggling says in which ways a proxy is off istiod's path, or may miss it.
func straggling(p mesh.Proxy, paused map[string]bool) (kinds []string) {
	add := func(kind string, is bool) {
		if is && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	add("spire", p.SPIRE)
	add("file-mounted", p.FileMounted && !p.SPIRE)
	add("grpc", p.GRPCAgent)
	add("output-certs", p.OutputCerts != "" && !p.GRPCAgent)
	add("prov-cert", p.ProvCert != "")
	add("own-roots", p.OwnRoots != "")
	add("job", p.Workload.Kind == "Job")
	add("bare-pod", cmp.Or(p.Workload.Kind, p.Workload.Name) == "")
	add("paused-node", p.Node != "" && paused[p.Node])
	return kinds
}

func needs(kind string) (message, hint string) {
	switch kind {
	case "spire":
		return "gets its certificate and roots from a SPIRE agent", "a rotation of istiod's CA does not reach it, and is refused while it is there: have it take its certificate from istiod, or take it out of the mesh"
	case "file-mounted":
		return "uses a certificate from mounted files, which istiod does not write", "a rotation of istiod's CA does not reach it, and is refused while it is there: have it take its certificate from istiod, or take it out of the mesh"
	case "grpc":
		return "is proxyless gRPC: the application reads what the agent writes", "it reads its files again every refresh_interval (900 s by default): wait that long at each step"
	case "output-certs":
		return "writes its certificates to files for others to read (OUTPUT_CERTS)", "see that these readers, such as a Prometheus, read them again; restart those that do not"
	case "prov-cert":
		return "authenticates to istiod with a certificate (PROV_CERT)", "restart istiod between trusting the new root and signing with it: it judges by the roots of its own start"
	case "own-roots":
		return "knows istiod by roots of a file of its own (CA_ROOT_CA, XDS_ROOT_CA), which no istiod writes", "put the new root into that file before it signs, or take the setting away; what it has loaded tells nothing of it"
	case "job":
		return "is of a Job: it is never restarted", "let it end, or start it after the rotation; one that lives through it renews as others do"
	case "bare-pod":
		return "has no controller: nothing makes it anew", "where it needs a restart, that is yours to do"
	}
	return "runs on a node that is not ready: it may come back with the old root", "bring the node back, or delete the pod, before the old root is distrusted"
}

func restartOf(m mesh.TrustMount) string {
	switch m.Workload.Kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		return "kubectl -n " + m.Namespace + " rollout restart " + m.Workload.Kind + "/" + m.Workload.Name
	}
	return "kubectl -n " + m.Namespace + " delete pod " + m.Pod
}
