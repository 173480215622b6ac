package rotation_test

import (
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// constrained is a CA like the bench's new one, whose root permits only names of these
// domains.
func constrained(t *testing.T, dns, uris []string) *pki.Authority {
	t.Helper()
	key, err := pki.ECDSAP256.Generate()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: name("root C"), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(pki.RootLifetime),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign, PermittedDNSDomainsCritical: true, PermittedDNSDomains: dns, PermittedURIDomains: uris}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root := pki.NewCertificate(der)
	signer, err := (&pki.Authority{Cert: root, Key: key, Roots: pki.NewBundle(root)}).NewIntermediate(pki.Request{Subject: name("intermediate C"), Now: time.Now(), PathLen: 0})
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// A CA that may name every workload and not istiod is refused before anything is written:
// agents would refuse what istiod serves with it, and the API server its webhooks.
func TestNamesOutsideConstraints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s, err := b.collector().Collect(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		b.prober.Probe(b.ctx, s, nil)
		s.Gaps = nil
		unseen := *s
		unseen.ControlPlanes = slices.Clone(s.ControlPlanes)
		unseen.ControlPlanes[0].Replicas = slices.Clone(s.ControlPlanes[0].Replicas)
		for i := range unseen.ControlPlanes[0].Replicas {
			unseen.ControlPlanes[0].Replicas[i].Served = nil
		}
		for _, row := range []struct {
			about     string
			dns, uris []string
			refused   string
		}{
			{"the trust domain alone", nil, []string{"cluster.local"}, ""},
			{"istiod's names", []string{"istio-system.svc"}, []string{"cluster.local"}, ""},
			{"a company's names", []string{"acme.example"}, []string{"cluster.local"}, "serving-refused"},
			{"another trust domain", nil, []string{"acme.example"}, "chain-refused"},
		} {
			for _, s := range []*mesh.Snapshot{s, &unseen} {
				p := rotation.NewPlan(s, rotation.Config{New: constrained(t, row.dns, row.uris), CSRProof: true})
				if row.refused == "" && len(p.Refusals) > 0 {
					t.Errorf("%s: refused: %+v", row.about, p.Refusals)
				}
				if row.refused != "" && !slices.ContainsFunc(p.Refusals, func(r rotation.Refusal) bool { return r.ID == row.refused }) {
					t.Errorf("%s: not refused: %+v", row.about, p.Refusals)
				}
			}
		}
		copied := rotation.SecretCopy{Namespace: "istio-system", Name: "cacerts", Data: map[string][]byte{}}
		files, err := constrained(t, []string{"acme.example"}, []string{"cluster.local"}).Files()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files.All() {
			copied.Data[f.Name] = f.Data
		}
		for i := range s.Namespaces { // its root is trusted, so that names alone are in the way
			if trust := s.Namespaces[i].Trust; trust != nil {
				trust.Bundle = pki.NewBundle(append(slices.Clone(trust.Bundle.Certs), mustParse(t, files.Root.Data)...)...)
			}
		}
		if risks := rotation.SwapRisks(s, copied); !slices.ContainsFunc(risks, func(r rotation.Blocker) bool { return r.Kind == "configmap" }) {
			t.Errorf("agents would refuse what istiod serves with the copy, and that is no risk: %v", risks)
		}
	})
}

func mustParse(t *testing.T, raw []byte) []*pki.Certificate {
	t.Helper()
	bundle, err := pki.ParseBundle(raw)
	if err != nil {
		t.Fatal(err)
	}
	return bundle.Certs
}
