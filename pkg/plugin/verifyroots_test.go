package plugin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// --root is of everybody; with --istiod-root of workloads alone, and only where these get
// their certificates from elsewhere.
func TestVerifyRootsOfIstiodAndOfWorkloads(t *testing.T) {
	now := time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority := func(name string) (*pki.Authority, *pki.Bundle) {
		a, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: name}, Key: pki.ECDSAP256, Now: now, Lifetime: 1000 * time.Hour, PathLen: -1})
		if err != nil {
			t.Fatal(err)
		}
		bundle := pki.NewBundle(a.Cert)
		return a, &bundle
	}
	leaf := func(a *pki.Authority, spiffe string, dns ...string) []*pki.Certificate {
		c, err := a.IssueLeaf(pki.LeafRequest{SPIFFE: spiffe, DNSNames: dns, Public: &key.PublicKey, Now: now, Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return []*pki.Certificate{c}
	}
	istiod, istiodRoot := authority("istiod's")
	signer, signerRoot := authority("the signer's")
	const spiffe = "spiffe://cluster.local/ns/a/sa/p"
	s := &mesh.Snapshot{TakenAt: now,
		ControlPlanes: []mesh.ControlPlane{{Namespace: "istio-system", Name: "istiod", Settled: true, Desired: 1, CA: mesh.CASource{Kind: mesh.CARA},
			Replicas: []mesh.Istiod{{Pod: "istiod-1", Served: &proxy.Served{Chain: leaf(istiod, "", "istiod.istio-system.svc")}}}}},
		Namespaces: []mesh.Namespace{{Name: "istio-system", Trust: &mesh.TrustAnchor{Name: "istio-ca-root-cert", Bundle: *istiodRoot}}},
		Proxies: []mesh.Proxy{{Namespace: "a", Name: "p", Kind: mesh.Sidecar, Loaded: &proxy.Loaded{Evidence: proxy.EvidenceConfigDump,
			Identities: []proxy.Identity{{Secret: "default", SPIFFE: spiffe, Chain: leaf(signer, spiffe), Roots: signerRoot.Certs}}}}},
	}
	for name, row := range map[string]struct {
		want     wantedRoots
		verified bool
		hint     string
	}{
		"neither":               {verified: true},
		"workloads' for all":    {want: wantedRoots{roots: signerRoot}, hint: "--istiod-root"},
		"istiod's for all":      {want: wantedRoots{roots: istiodRoot}, hint: "--istiod-root"},
		"each its own":          {want: wantedRoots{roots: signerRoot, istiod: istiodRoot}, verified: true},
		"each the other's":      {want: wantedRoots{roots: istiodRoot, istiod: signerRoot}, hint: "each line says why"},
		"istiod's alone":        {want: wantedRoots{istiod: istiodRoot}, verified: true},
		"istiod's, and another": {want: wantedRoots{istiod: signerRoot}, hint: "each line says why"},
	} {
		r, err := newVerifyReport(s, row.want, false)
		if err != nil {
			t.Fatal(err)
		}
		if r.Verified != row.verified {
			t.Errorf("%s: %v", name, r.Items)
		}
		if !row.verified {
			if _, hint := codeOf(r.failure(false)); !strings.Contains(hint, row.hint) {
				t.Errorf("%s: hint %q", name, hint)
			}
		} else if len(r.WorkloadRoots) != 1 || r.WorkloadRoots[0].Subject != "CN=the signer's" || r.Roots[0].Subject != "CN=istiod's" {
			t.Errorf("%s: %+v, %+v", name, r.Roots, r.WorkloadRoots)
		}
	}
	for _, kind := range []mesh.CAKind{mesh.CAPlugged, mesh.CASelfSigned, mesh.CAIstioCSR, mesh.CACitadel, mesh.CAUnknown} {
		s.ControlPlanes[0].CA.Kind = kind
		if _, err := newVerifyReport(s, wantedRoots{roots: signerRoot, istiod: istiodRoot}, false); err == nil {
			t.Errorf("%s: workloads may be under another root than istiod, who signs for them", kind)
		}
	}
}

// A cluster whose istiod is in another is proven for what it is, and not for what it is not.
func TestVerifyWithoutAnIstiodHere(t *testing.T) {
	root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "root"}, Key: pki.ECDSAP256, Now: time.Now(), Lifetime: 1000 * time.Hour, PathLen: -1})
	if err != nil {
		t.Fatal(err)
	}
	s := &mesh.Snapshot{TakenAt: time.Now(),
		ControlPlanes: []mesh.ControlPlane{{Namespace: "istio-system", Name: "managed", Settled: true, CA: mesh.CASource{Kind: mesh.CAUnsupported}, Elsewhere: "a webhook is called by URL"}},
		Namespaces:    []mesh.Namespace{{Name: "istio-system", Trust: &mesh.TrustAnchor{Name: "istio-ca-root-cert", Bundle: pki.NewBundle(root.Cert)}}}}
	r, err := newVerifyReport(s, wantedRoots{}, false)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, row := range r.rows(false) {
		text += strings.Join(row, " ") + "\n"
	}
	if !r.Verified || strings.Contains(text, "the control plane has followed") || !strings.Contains(text, "of another cluster, not asked") || !strings.Contains(text, "not seen: istiod of this mesh: a webhook is called by URL") {
		t.Error(text)
	}
}
