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
// have one each. Where certificates are signed elsewhere, proxies agree with what most of
// them trust. It is false where no roots of istiod's can be read. A Citadel
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
	e.Trusted, e.Only, e.Own = e.Roots, true, true
	if SignedElsewhere(s) {
		// Most proxies' word stands for a list that nothing here holds; any other is in the way.
		var held [][]*pki.Certificate
		for _, p := range s.Proxies {
			if p.Loaded == nil {
				continue
			}
			for _, i := range p.Loaded.Identities {
				held = append(held, i.Trusts([]string{pki.DomainOf(i.SPIFFE)})...) // not those of federated domains
			}
		}
		if workloads := heldByMost(held); workloads != nil {
			e.Trusted = workloads
		}
	}
	e.Accepted = e.Trusted
	e.Citadel = slices.ContainsFunc(s.ControlPlanes, func(p mesh.ControlPlane) bool { return p.CA.Kind == mesh.CACitadel })
	return e, true
}

// SignedElsewhere reports whether no istiod signs for workloads from a CA of its own, but a
// Kubernetes signer does, or SPIRE: then they may be under another root than what istiods
// serve and publish (istio 1.30.3 pilot/pkg/bootstrap/server.go:1300, startCA, and :1009,
// initIstiodCerts). Beside istio-csr both come from there.
func SignedElsewhere(s *mesh.Snapshot) bool {
	signs := func(plane mesh.ControlPlane) bool { return plane.CA.Kind != mesh.CARA && plane.CA.Kind != mesh.CASPIRE }
	return len(s.ControlPlanes) > 0 && !slices.ContainsFunc(s.ControlPlanes, signs)
}

// publishedElsewhere are the roots in most of the trust ConfigMaps where istiod writes none
// beside itself: its namespace is in another cluster and nothing names it, or is not among
// those that it serves.
func publishedElsewhere(s *mesh.Snapshot) []*pki.Certificate {
	beside := func(plane mesh.ControlPlane) bool {
		return slices.ContainsFunc(s.Namespaces, func(n mesh.Namespace) bool { return n.Name == plane.Namespace })
	}
	if len(s.ControlPlanes) == 0 || slices.ContainsFunc(s.ControlPlanes, beside) {
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
