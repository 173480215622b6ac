package check

import (
	"cmp"
	"fmt"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

func accessRules() []Rule {
	return []Rule{
		{ID: "unread", Category: Access, About: "every part of the mesh could be read", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, g := range s.Unread() {
				f := Finding{Severity: pki.SeverityError, Object: cmp.Or(g.Part, g.Resource, "a part of the mesh"), Message: "it could not be read: " + g.Error, Hint: "nothing is concluded from what is not seen: try again when it can be read"}
				if g.Verb != "" {
					f.Hint = fmt.Sprintf("ask for a role that may %s %s", g.Verb, g.Resource)
					if g.Namespace != "" {
						f.Hint += " in namespace " + g.Namespace
					}
				}
				if optional(g.Resource) {
					f.Severity = pki.SeverityWarning
				}
				all = append(all, f)
			}
			return all, 1
		}},
		{ID: "control-plane", Category: Access, About: "there is a control plane, and its rollout is complete", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			if len(s.ControlPlanes) == 0 {
				all = append(all, Finding{ID: "no-istiod", Severity: pki.SeverityError, Object: "cluster", Message: "no istiod was found", Hint: "is Istio installed here? name its namespace with --istio-namespace"})
			}
			for _, plane := range s.ControlPlanes {
				switch {
				case plane.Elsewhere != "": // the rule on the CA's source names it
				case plane.CA.Kind == mesh.CAUnsupported && len(plane.Replicas) == 0:
					all = append(all, Finding{ID: "no-istiod", Severity: pki.SeverityError, Object: planeObject(plane), Message: "no istiod was found: " + cmp.Or(plane.CA.Why, "what it has written is there") + ", and nothing shows that it runs out of this cluster", Hint: "was it taken away, or is its namespace or revision another? name it with --istio-namespace"})
				case len(plane.Replicas) == 0:
					all = append(all, Finding{ID: "no-replica", Severity: pki.SeverityError, Object: planeObject(plane), Message: "it has no replica", Hint: "nobody renews certificates: scale it up"})
				case !plane.Settled:
					all = append(all, Finding{ID: "istiod-rollout", Severity: pki.SeverityWarning, Object: planeObject(plane), Message: "its rollout is not complete", Hint: "'kubectl rollout status' tells why"})
				}
			}
			return all, 1
		}},
	}
}

func planeObject(plane mesh.ControlPlane) string {
	return "istiod " + plane.Namespace + "/" + plane.Name
}

// optional parts decide about no verdict on trust.
func optional(resource string) bool {
	switch resource {
	case "nodes", "leases", "replicasets", "jobs", "secrets", "services", "workloadentries", "peerauthentications", "destinationrules", "meshpolicies", "policies",
		"certificates", "issuers", "clusterissuers":
		return true
	}
	return false
}
