package rotation

import (
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
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
	if e.Roots == nil {
		e.Roots = publishedElsewhere(s)
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

// publishedElsewhere are the roots in most of the trust ConfigMaps that an istiod writes
// which is not in this cluster, and whose namespace nothing names.
func publishedElsewhere(s *mesh.Snapshot) []*pki.Certificate {
	nameless := func(plane mesh.ControlPlane) bool { return plane.Elsewhere != "" && plane.Namespace == "" }
	if !slices.ContainsFunc(s.ControlPlanes, nameless) {
		return nil
	}
	var held [][]*pki.Certificate
	for _, n := range s.Namespaces {
		if n.Trust != nil {
			held = append(held, n.Trust.Bundle.Certs)
		}
	}
	return heldByMost(held)
}

// heldByMost is the set of certificates that most of the lists are, the first of those
// that are equally many. An empty list does not count.
func heldByMost(lists [][]*pki.Certificate) (most []*pki.Certificate) {
	counts, best := map[string]int{}, 0
	for _, list := range lists {
		counts[setName(list)]++
	}
	for _, list := range lists {
		if n := counts[setName(list)]; len(list) > 0 && n > best {
			most, best = list, n
		}
	}
	return most
}

// setName is the same for lists of the same certificates.
func setName(list []*pki.Certificate) string {
	var prints []string
	for f := range pki.NewSet(list...) {
		prints = append(prints, f.String())
	}
	slices.Sort(prints)
	return strings.Join(prints, " ")
}
