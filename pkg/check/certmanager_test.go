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

// What cert-manager still writes beside a CA that istiod does not take from there is read
// by nobody, whatever stands behind its issuer; where istiod keeps a CA of its own for
// what it serves, it is.
func TestCertificateThatNobodyReads(t *testing.T) {
	for name, row := range map[string]struct {
		ca     mesh.CASource
		flags  func(*mesh.Flags)
		unused bool
	}{
		"istio-csr":                          {mesh.CASource{Kind: mesh.CAIstioCSR}, func(f *mesh.Flags) { f.CAServer = false }, true},
		"managed":                            {mesh.CASource{Kind: mesh.CAUnsupported}, func(*mesh.Flags) {}, true},
		"RA, istiod served by it too":        {mesh.CASource{Kind: mesh.CARA}, func(f *mesh.Flags) { f.CertProvider = "k8s.io/signer" }, true},
		"RA, istiod served by its own":       {mesh.CASource{Kind: mesh.CARA}, func(f *mesh.Flags) { f.CertProvider = "istiod" }, false},
		"SPIRE beside istiod's own":          {mesh.CASource{Kind: mesh.CASPIRE}, func(*mesh.Flags) {}, false},
		"unknown":                            {mesh.CASource{Kind: mesh.CAUnknown, Namespace: "istio-system", Secret: "cacerts"}, func(*mesh.Flags) {}, false},
		"self-signed, which it comes before": {mesh.CASource{Kind: mesh.CASelfSigned, Namespace: "istio-system", Secret: "istio-ca-secret"}, func(*mesh.Flags) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, released := range []string{"", "cacerts"} {
				w := newWorld(t)
				m := w.managed()
				m.IssuerChain, m.IsCA, m.Released = []*pki.Certificate{w.other.Cert}, false, released
				w.plane().CA = row.ca
				row.flags(&w.plane().Flags)
				findings := w.run().Findings
				if has(findings, "cert-manager-unused", isInfo) != row.unused {
					t.Errorf("released %q: said to be unused: %v", released, !row.unused)
				}
				for _, id := range []string{"cert-manager-root-changes", "cert-manager-no-ca"} {
					if has(findings, id, isError) != (!row.unused && released == "") {
						t.Errorf("released %q: %s: %+v", released, id, findings)
					}
				}
				if has(findings, "cert-manager-released", isWarning) != (!row.unused && released != "") {
					t.Errorf("released %q: %+v", released, findings)
				}
			}
		})
	}
}

// unreadLayout is an istiod that is too old for what cert-manager writes, and signs itself.
func (w *world) unreadLayout() {
	m := w.managed()
	m.IssuerChain = []*pki.Certificate{w.other.Cert}
	plane := w.plane()
	plane.Version, plane.Flags.AutoReload = "1.13.9", false
	plane.CA = mesh.CASource{Kind: mesh.CASelfSigned, Namespace: "istio-system", Secret: "istio-ca-secret", Unread: "cacerts", Exists: true, Type: "istio.io/ca-root", HasKey: true, KeyMatches: true, Cert: pki.NewBundle(w.root.Cert), Root: pki.NewBundle(w.root.Cert)}
}

// What such an istiod does not read it neither refuses nor loads at its next restart: not
// to load a renewal is not what ails it.
func TestS12_LayoutThatNobodyReads(t *testing.T) {
	w := newWorld(t)
	w.unreadLayout()
	for _, f := range w.run().Findings {
		if strings.HasPrefix(f.ID, "cert-manager") {
			t.Errorf("%s: %s: %s", f.ID, f.Message, f.Hint)
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

// An issuer may give a shorter life than was asked for, and a window may put a renewal off:
// when it is due cert-manager itself says, and the policy only where it does not.
func TestS16_DueByItsOwnWord(t *testing.T) {
	w := newWorld(t)
	m := w.managed()
	m.Duration, m.RenewBefore = mesh.Duration(2400*day), mesh.Duration(800*day) // of which it got 730 days
	m.RenewalTime = w.ca.Cert.X509.NotAfter.Add(-243 * day)
	for _, f := range w.run().Findings {
		if f.ID == "cert-manager-overdue" {
			t.Errorf("%s: %s", f.ID, f.Message)
		}
	}
	m.RenewBefore, m.RenewalTime = mesh.Duration(15*day), w.ca.Cert.X509.NotAfter.Add(-day/2)
	if !has(w.run().Findings, "cert-manager-renews-late", isError) {
		t.Error("leaves of a day under a CA that is renewed half a day before its end")
	}
}
