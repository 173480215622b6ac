package rotation_test

import (
	"crypto/x509/pkix"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// What workloads trust, where SPIRE signs for them, is the bundle of their own trust
// domain: those of domains that it is federated with are nobody's to have here.
func TestPresentBesideFederatedDomains(t *testing.T) {
	at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	root := func(name string) *pki.Certificate {
		ca, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: name}, Key: pki.ECDSAP256, Now: at, PathLen: -1})
		if err != nil {
			t.Fatal(err)
		}
		return ca.Cert
	}
	istiods, own, other := root("istiod"), root("own"), root("other")
	s := &mesh.Snapshot{TakenAt: at,
		ControlPlanes: []mesh.ControlPlane{{Namespace: "istio-system", Name: "istiod", CA: mesh.CASource{Kind: mesh.CASPIRE}}},
		Namespaces:    []mesh.Namespace{{Name: "istio-system", Trust: &mesh.TrustAnchor{Name: "istio-ca-root-cert", Bundle: pki.NewBundle(istiods)}}},
		Proxies: []mesh.Proxy{{Namespace: "a", Name: "p", Loaded: &proxy.Loaded{Identities: []proxy.Identity{{SPIFFE: "spiffe://own.example/ns/a/sa/p", Roots: []*pki.Certificate{own, other},
			Domains: []pki.Domain{{Name: "other.example", Roots: []*pki.Certificate{other}}, {Name: "own.example", Roots: []*pki.Certificate{own}}}}}}}}}
	e, ok := rotation.Present(s)
	if !ok || !pki.NewSet(e.Roots...).Equal(pki.NewSet(istiods)) || !pki.NewSet(e.Trusted...).Equal(pki.NewSet(own)) {
		t.Errorf("known %t, of istiod %d, of workloads %d: %v", ok, len(e.Roots), len(e.Trusted), e.Trusted)
	}
}
