package check

import (
	"fmt"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

func accessRules() []Rule {
	return []Rule{
		{ID: "unread", Category: Access, About: "every part of the mesh could be read", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, g := range s.Gaps {
				f := Finding{Severity: pki.SeverityError, Object: g.Part, Message: "it could not be read: " + g.Error, Hint: "nothing is concluded from what is not seen: try again when it can be read"}
				if g.Verb != "" {
					f.Hint = fmt.Sprintf("ask for a role that may %s %s", g.Verb, g.Resource)
				}
				if optional(g.Resource) {
					f.Severity = pki.SeverityWarning
				}
				all = append(all, f)
			}
			return all, 1
		}},
		{ID: "no-istiod", Category: Access, About: "there is a control plane", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			if len(s.ControlPlanes) == 0 {
				all = append(all, Finding{Severity: pki.SeverityError, Object: "cluster", Message: "no istiod was found", Hint: "is Istio installed here? name its namespace with --istio-namespace"})
			}
			for _, plane := range s.ControlPlanes {
				object := "istiod " + plane.Namespace + "/" + plane.Name
				if len(plane.Replicas) == 0 {
					all = append(all, Finding{ID: "no-replica", Severity: pki.SeverityError, Object: object, Message: "it has no replica", Hint: "nobody renews certificates: scale it up"})
				} else if !plane.Settled {
					all = append(all, Finding{ID: "istiod-rollout", Severity: pki.SeverityWarning, Object: object, Message: "its rollout is not complete", Hint: "'kubectl rollout status' tells why"})
				}
			}
			return all, 1
		}},
	}
}

// optional parts decide about no verdict on trust.
func optional(resource string) bool {
	switch resource {
	case "nodes", "leases", "replicasets", "jobs", "secrets", "services", "workloadentries":
		return true
	}
	return false
}
