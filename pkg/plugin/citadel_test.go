package plugin

import (
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

func citadelRoot(t *testing.T, name string, at time.Time) *pki.Certificate {
	t.Helper()
	return citadelCA(t, name, at).Cert
}

func citadelCA(t *testing.T, name string, at time.Time) *pki.Authority {
	t.Helper()
	root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: name}, Key: pki.ECDSAP256, Now: at, Lifetime: 900 * 24 * time.Hour, PathLen: -1})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestS9_VerifySecrets: verify has a verdict for every workload Secret.
func TestS9_VerifySecrets(t *testing.T) {
	at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	ca, other := citadelCA(t, "root", at), citadelRoot(t, "other", at)
	leaf, err := ca.IssueLeaf(pki.LeafRequest{SPIFFE: "spiffe://cluster.local/ns/a/sa/x", Public: ca.Key.Public(), Now: at, Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	root := ca.Cert
	s := &mesh.Snapshot{TakenAt: at,
		ControlPlanes:   []mesh.ControlPlane{{CA: mesh.CASource{Kind: mesh.CACitadel, Exists: true, Cert: pki.NewBundle(root), Root: pki.NewBundle(root)}}},
		WorkloadSecrets: []mesh.WorkloadSecret{{Namespace: "a", Name: "istio.x", Chain: []*pki.Certificate{leaf}, Roots: []*pki.Certificate{root}}, {Namespace: "b", Name: "istio.y", Roots: []*pki.Certificate{other}}},
	}
	verdicts := func(want *pki.Bundle) string {
		r := &verifyReport{}
		r.secrets(s, want)
		var bad []string
		for _, b := range r.Items {
			bad = append(bad, b.Object)
		}
		return strings.Join(bad, ",")
	}
	if got := verdicts(nil); got != "b/istio.y" {
		t.Errorf("by Citadel's root: %q", got)
	}
	wanted := pki.NewBundle(other)
	if got := verdicts(&wanted); got != "a/istio.x,b/istio.y" { // the second has no certificate at all
		t.Errorf("by another root: %q", got)
	}
}

// TestS11_EnvoyLoadConfirmation: valid_from and serial of the first CA against the
// new root's, for every live context.
func TestS11_EnvoyLoadConfirmation(t *testing.T) {
	at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	root, other := citadelRoot(t, "root", at), citadelRoot(t, "other", at)
	context := func(ca *pki.Certificate, until time.Time) proxy.Context {
		return proxy.Context{SPIFFE: "spiffe://cluster.local/ns/a/sa/b", LeafSerial: "a", LeafUntil: until, CASerial: ca.X509.SerialNumber.Text(16), CAFrom: ca.X509.NotBefore}
	}
	later := at.Add(time.Hour)
	for name, test := range map[string]struct {
		contexts []proxy.Context
		want     []*pki.Certificate
		state    envoyState
	}{
		"loaded":               {[]proxy.Context{context(root, later)}, []*pki.Certificate{root}, stateLoaded},
		"one context is old":   {[]proxy.Context{context(root, later), context(other, later)}, []*pki.Certificate{root}, stateMissing},
		"its leaf has ended":   {[]proxy.Context{context(root, at)}, []*pki.Certificate{root}, stateExpired},
		"two roots are unseen": {[]proxy.Context{context(root, later)}, []*pki.Certificate{root, other}, stateUnreadable},
		"nothing asked":        {[]proxy.Context{context(root, later)}, nil, stateRead},
	} {
		p := mesh.Proxy{Loaded: &proxy.Loaded{Evidence: proxy.EvidenceCerts, Contexts: test.contexts}}
		if item := judge(p, pki.NewBundle(test.want...), nil, at); item.State != test.state {
			t.Errorf("%s: %s, %s", name, item.State, item.Reason)
		}
	}
}
