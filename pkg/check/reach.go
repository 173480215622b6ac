package check

import (
	"cmp"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

func reachRules() []Rule {
	return []Rule{
		{ID: "reach", Category: Reach, About: "a new root is pushed to every proxy", Needs: "no proxy was seen", Reads: []string{"pods"}, Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			type kind struct {
				reach mesh.Reach
				why   string
			}
			var seen crowds[kind]
			for _, p := range s.Proxies {
				seen.add(kind{cmp.Or(p.Reach, mesh.ReachUnknown), p.ReachWhy}, p.Ref())
			}
			for _, k := range seen.order {
				f := Finding{ID: "reach-" + string(k.reach), Severity: pki.SeverityInfo, Object: crowd(seen.refs[k]), Message: cmp.Or(k.why, "nothing says how a new root gets there"), proxies: seen.refs[k]}
				switch k.reach {
				case mesh.ReachPush:
					continue
				case mesh.ReachRenewal:
					f.Hint = "a new root takes up to half of a leaf's life to get there"
				case mesh.ReachRestart:
					f.Severity, f.Hint = pki.SeverityWarning, "only a restart brings a new root there for certain"
				case mesh.ReachElsewhere:
					f.Severity, f.Hint = pki.SeverityWarning, "rotate where its certificate comes from"
				default:
					f.Severity, f.Hint = pki.SeverityError, "find out which control plane serves it, and what its release and its settings are"
				}
				all = append(all, f)
			}
			return all, len(s.Proxies)
		}},
		{ID: "virtual-machines", Category: Reach, About: "no virtual machine has to follow", Needs: "no istiod was seen", Reads: istiods("workloadentries"), Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, vm := range s.VMs {
				all = append(all, Finding{ID: "virtual-machine", Severity: pki.SeverityWarning, Object: "virtual machine " + vm.Namespace + "/" + vm.Name, Message: vm.Unexplained() + "istiod judges it by the roots of its own start, and it may be off when the root changes", Hint: "restart istiod between trusting a new root and signing with it; see that the machine is up"})
			}
			return all, len(s.ControlPlanes)
		}},
		{ID: "client-roots", Category: Reach, About: "istiods were started with the roots of whoever shows them a certificate", Needs: "no istiod was seen", Reads: istiods("workloadentries"), Run: clientRoots},
		{ID: "injected", Category: Reach, About: "no pod of the mesh is left out", Needs: "no proxy was seen", Reads: []string{"pods"}, Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, u := range s.Uninjected {
				all = append(all, Finding{ID: "not-injected", Severity: pki.SeverityInfo, Object: "pod " + u.Namespace + "/" + u.Name, Message: "it has no proxy: " + cmp.Or(u.Why, "nothing says why"), Hint: "where it reads the mesh's root from a file or ConfigMap, it follows at its own pace"})
			}
			return all, len(s.Proxies)
		}},
		{ID: "stragglers", Category: Reach, About: "nothing is left that istiod does not bring a new root to", Facts: true, Needs: "no proxy was seen", Reads: []string{"pods", "nodes"}, Run: stragglers},
		{ID: "nodes-ready", Category: Reach, About: "every kubelet refreshes its pods' files", Needs: "no node was seen", Reads: []string{"nodes"}, Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, n := range s.Nodes {
				if !n.Ready {
					all = append(all, Finding{ID: "node-not-ready", Severity: pki.SeverityWarning, Object: "node " + n.Name, Message: "it is not ready, and last was at " + stamp(n.LastReady) + ": its pods' trust files stay as they are", Hint: "bring it back, or drain it, before a rotation"})
				}
			}
			return all, len(s.Nodes)
		}},
	}
}
