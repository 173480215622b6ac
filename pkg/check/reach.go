package check

import (
	"fmt"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

func reachRules() []Rule {
	return []Rule{
		{ID: "reach", Category: Reach, About: "it is known how a new root gets to every proxy", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			type kind struct {
				reach mesh.Reach
				why   string
			}
			count, first := map[kind]int{}, map[kind]string{}
			var order []kind
			for _, p := range s.Proxies {
				k := kind{p.Reach, p.ReachWhy}
				if count[k]++; count[k] == 1 {
					first[k] = p.Ref()
					order = append(order, k)
				}
			}
			for _, k := range order {
				f := Finding{ID: "reach-" + string(k.reach), Severity: pki.SeverityInfo, Object: fmt.Sprintf("%d proxies, one is %s", count[k], first[k]), Message: k.why}
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
					f.Severity, f.Hint = pki.SeverityError, "find out which control plane serves it"
				}
				all = append(all, f)
			}
			return all, len(s.Proxies)
		}},
		{ID: "virtual-machines", Category: Reach, About: "no virtual machine has to follow", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, vm := range s.VMs {
				all = append(all, Finding{Severity: pki.SeverityWarning, Object: "virtual machine " + vm.Namespace + "/" + vm.Name, Message: "istiod judges it by the roots of its own start, and it may be off when the root changes", Hint: "restart istiod between trusting a new root and signing with it; see that the machine is up"})
			}
			return all, len(s.ControlPlanes)
		}},
		{ID: "not-ready-nodes", Category: Reach, About: "every kubelet refreshes its pods' files", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, n := range s.Nodes {
				if !n.Ready {
					all = append(all, Finding{Severity: pki.SeverityWarning, Object: "node " + n.Name, Message: "it is not ready since " + stamp(n.LastReady) + ": its pods' trust files stay as they are", Hint: "bring it back, or drain it, before a rotation"})
				}
			}
			return all, len(s.Nodes)
		}},
	}
}
