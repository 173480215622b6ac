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
