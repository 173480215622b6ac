package rotation_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// A critical policy, as the intermediates of many a company have it, is known to Envoy
// and to Go, and unknown to webpki (rustls-webpki src/cert.rs,
// remember_cert_extension): where a ztunnel is, no new leaf would be accepted.
func TestZtunnelIsAskedBeforeTheFirstWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "root of a company"}, Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		plain, err := root.NewIntermediate(pki.Request{Subject: pkix.Name{CommonName: "its intermediate"}, Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		policies, err := asn1.Marshal([][]asn1.ObjectIdentifier{{{2, 23, 140, 1}}})
		if err != nil {
			t.Fatal(err)
		}
		template := *plain.Cert.X509
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 32}, Critical: true, Value: policies}}
		der, err := x509.CreateCertificate(rand.Reader, &template, root.Cert.X509, plain.Key.Public(), root.Key)
		if err != nil {
			t.Fatal(err)
		}
		critical := *plain
		critical.Cert = pki.NewCertificate(der)
		s, err := b.collector().Collect(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Gaps = nil
		ambient := *s
		ambient.Proxies = append(slices.Clone(s.Proxies), mesh.Proxy{Namespace: "istio-system", Name: "ztunnel-x", Kind: mesh.Ztunnel, Version: "1.30.3", Reach: mesh.ReachRenewal, ReachWhy: "in a test"})
		for _, test := range []struct {
			name    string
			s       *mesh.Snapshot
			ca      *pki.Authority
			refused bool
		}{{"sidecars alone", s, &critical, false}, {"a ztunnel, and a plain CA", &ambient, plain, false}, {"a ztunnel", &ambient, &critical, true}} {
			config := b.config
			config.New, config.Override = test.ca, []string{rotation.Ambient}
			p := rotation.NewPlan(test.s, config)
			if len(p.Steps) == 0 {
				t.Fatalf("%s: a plan without steps proves nothing: %+v", test.name, p.Refusals)
			}
			i := slices.IndexFunc(p.Refusals, func(r rotation.Refusal) bool { return r.ID == "chain-refused" })
			if (i >= 0) != test.refused || !test.refused && len(p.Refusals) > 0 {
				t.Errorf("%s: %+v", test.name, p.Refusals)
			}
			if i >= 0 && !strings.Contains(p.Refusals[i].Why, "a peer (ztunnel)") {
				t.Errorf("%s: it is not said who refuses: %s", test.name, p.Refusals[i].Why)
			}
		}
	})
}
