package check_test

import (
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// managed has cert-manager write the CA Secret, in good order.
func (w *world) managed() *mesh.ManagedCA {
	w.s.ManagedCAs = []mesh.ManagedCA{{Namespace: "istio-system", Name: "cacerts", Secret: "cacerts", IsCA: true, Duration: mesh.Duration(60 * day), RenewBefore: mesh.Duration(15 * day),
		Ready: true, Issuer: "ClusterIssuer ca", IssuerType: "ca", IssuerReady: true, IssuerChain: []*pki.Certificate{w.root.Cert}}}
	return &w.s.ManagedCAs[0]
}

func TestS12_CertManagerInGoodOrder(t *testing.T) {
	w := newWorld(t)
	w.managed()
	for _, f := range w.run().Findings {
		if strings.HasPrefix(f.ID, "cert-manager") {
			t.Errorf("%s: %s", f.ID, f.Message)
		}
	}
}

// A signer of 60 days that cert-manager renews 15 before its end is no fault until then.
func TestS16_RenewedByCertManager(t *testing.T) {
	w := newWorld(t)
	w.managed()
	w.s.TakenAt = w.ca.Cert.X509.NotAfter.Add(-16 * day)
	for _, f := range ruleOf(t, "ca-expiry", w.s) {
		if strings.Contains(f.Message, w.ca.Cert.Subject()) || f.ID == "cert-manager-overdue" {
			t.Errorf("%s: %s %s", f.ID, f.Object, f.Message)
		}
	}
}
