package rotation

import (
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// Present is what should be true of a mesh where nothing is under way: everybody
// agrees with the CA's own bundle, or, where that may not be read, with the trust
// ConfigMap of istiod's namespace; each istiod signs with its own CA, and revisions may
// have one each. It is false where neither can be read. A Citadel
// answers to nobody here and writes no trust ConfigMap: its Secrets are asked.
func Present(s *mesh.Snapshot) (Expectation, bool) {
	var e Expectation
	for _, plane := range s.ControlPlanes {
		if roots := plane.CA.Root.Certs; len(roots) > 0 {
			e.Roots = roots
			break
		}
	}
	if e.Roots == nil {
		for _, plane := range s.ControlPlanes {
			for _, n := range s.Namespaces {
				if n.Name == plane.Namespace && n.Trust != nil && len(n.Trust.Bundle.Certs) > 0 {
					e.Roots = n.Trust.Bundle.Certs
				}
			}
		}
	}
	if e.Roots == nil && s.ClusterTrustBundle != nil && len(s.ClusterTrustBundle.Bundle.Certs) > 0 {
		e.Roots = s.ClusterTrustBundle.Bundle.Certs
	}
	if e.Roots == nil {
		return e, false
	}
	e.Trusted, e.Only, e.Accepted, e.Own = e.Roots, true, e.Roots, true
	e.Citadel = slices.ContainsFunc(s.ControlPlanes, func(p mesh.ControlPlane) bool { return p.CA.Kind == mesh.CACitadel })
	return e, true
}
