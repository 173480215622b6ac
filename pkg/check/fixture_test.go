package check_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

const day = 24 * time.Hour

// clock is the moment of every Snapshot here.
func clock() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// world is a mesh in good order, and the material to break it with.
type world struct {
	t           testing.TB
	root, ca    *pki.Authority
	other, next *pki.Authority // a foreign root, and an intermediate below it
	key         *ecdsa.PrivateKey
	s           *mesh.Snapshot
}

func newAuthority(t testing.TB, name string, lifetime time.Duration) *pki.Authority {
	t.Helper()
	a, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: name}, Key: pki.ECDSAP256, Now: clock(), Lifetime: lifetime, PathLen: -1})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func below(t testing.TB, root *pki.Authority, name string, lifetime time.Duration) *pki.Authority {
	t.Helper()
	a, err := root.NewIntermediate(pki.Request{Subject: pkix.Name{CommonName: name}, Key: pki.ECDSAP256, Now: clock(), Lifetime: lifetime, PathLen: 0})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t}
	var err error
	if w.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	w.root = newAuthority(t, "root A", 3650*day)
	w.ca = below(t, w.root, "intermediate A", 730*day)
	w.other = newAuthority(t, "root B", 3650*day)
	w.next = below(t, w.other, "intermediate B", 730*day)
	w.s = &mesh.Snapshot{
		TakenAt: clock(), TrustDomain: "cluster.local",
		ControlPlanes: []mesh.ControlPlane{{
			Namespace: "istio-system", Name: "istiod", Revision: "default", Version: "1.30.3", Image: "hub/pilot:1.30.3", Desired: 2, Updated: 2, Settled: true,
			Flags: mesh.Flags{MultiRoot: true, AutoReload: true, CAServer: true, TrustConfigMap: "istio-ca-root-cert", MaxWorkloadTTL: mesh.Duration(90 * day), DefaultWorkloadTTL: mesh.Duration(day)},
			CA: mesh.CASource{
				Kind: mesh.CAPlugged, Namespace: "istio-system", Secret: "cacerts", Exists: true, Type: "Opaque", Created: clock().Add(-10 * day),
				Keys: []string{"ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"}, HasKey: true, KeyMatches: true,
				Cert: pki.NewBundle(w.ca.Cert), Chain: pki.NewBundle(w.ca.Cert), Root: pki.NewBundle(w.root.Cert),
			},
			Replicas: []mesh.Istiod{w.istiod("istiod-1", w.ca), w.istiod("istiod-2", w.ca)},
		}},
		Nodes: []mesh.Node{{Name: "n1", Ready: true, LastReady: clock()}},
	}
	for _, n := range []string{"a", "b", "istio-system"} {
		w.s.Namespaces = append(w.s.Namespaces, mesh.Namespace{Name: n, Trust: &mesh.TrustAnchor{Name: "istio-ca-root-cert", Bundle: pki.NewBundle(w.root.Cert)}})
	}
	w.s.Webhooks = []mesh.Webhook{{Kind: "MutatingWebhookConfiguration", Config: "istio-sidecar-injector", Name: "inject", Service: "istio-system/istiod", CABundle: pki.NewBundle(w.root.Cert), Fatal: true}}
	for _, n := range []string{"a", "b"} {
		w.s.Proxies = append(w.s.Proxies, w.proxy(n, "p1", w.ca, w.root.Cert), w.proxy(n, "p2", w.ca, w.root.Cert))
	}
	w.plane().Replicas[0].Clients = []proxy.Client{{Proxy: "a/p1"}, {Proxy: "a/p2"}}
	w.plane().Replicas[1].Clients = []proxy.Client{{Proxy: "b/p1"}, {Proxy: "b/p2"}}
	return w
}

func (w *world) plane() *mesh.ControlPlane { return &w.s.ControlPlanes[0] }

func (w *world) leaf(ca *pki.Authority, spiffe string, at time.Time, lifetime time.Duration, dns ...string) *pki.Certificate {
	w.t.Helper()
	c, err := ca.IssueLeaf(pki.LeafRequest{SPIFFE: spiffe, DNSNames: dns, Public: &w.key.PublicKey, Now: at, Lifetime: lifetime})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) istiod(name string, ca *pki.Authority) mesh.Istiod {
	return mesh.Istiod{
		Pod: name, Version: "1.30.3", Started: clock().Add(-day), Ready: true,
		Served: &proxy.Served{At: clock(), Chain: []*pki.Certificate{w.leaf(ca, "", clock().Add(-day), 600*day, "istiod.istio-system.svc"), ca.Cert}},
	}
}

// signed is a replica's answer to a certificate request.
func (w *world) signed(ca *pki.Authority, roots ...*pki.Certificate) *proxy.Signed {
	return &proxy.Signed{At: clock(), Chain: []*pki.Certificate{w.leaf(ca, "spiffe://cluster.local/ns/istio-system/sa/meshca-probe", clock(), time.Minute), ca.Cert}, Roots: roots}
}

func (w *world) proxy(namespace, name string, ca *pki.Authority, roots ...*pki.Certificate) mesh.Proxy {
	p := mesh.Proxy{
		Namespace: namespace, Name: name, UID: namespace + name, Kind: mesh.Sidecar, Labels: map[string]string{"app": name}, Version: "1.30.3", VersionFrom: "image tag", Image: "hub/proxyv2:1.30.3",
		Workload: mesh.Workload{Kind: "Deployment", Name: name},
		Ready:    true, SecretTTL: mesh.Duration(day), GraceRatio: 0.5, XDSAgent: true, Reach: mesh.ReachPush, ReachWhy: "both flags are on",
	}
	w.load(&p, ca, clock().Add(-time.Hour), day, roots...)
	return p
}

// load gives a proxy a leaf issued at a moment, and roots.
func (w *world) load(p *mesh.Proxy, ca *pki.Authority, at time.Time, lifetime time.Duration, roots ...*pki.Certificate) {
	spiffe := fmt.Sprintf("spiffe://cluster.local/ns/%s/sa/%s", p.Namespace, p.Name)
	leaf := w.leaf(ca, spiffe, at, lifetime)
	p.Loaded = &proxy.Loaded{
		At: clock(), Evidence: proxy.EvidenceConfigDump,
		Identities: []proxy.Identity{{Secret: "default", SPIFFE: spiffe, Chain: []*pki.Certificate{leaf, ca.Cert, ca.Roots.Certs[0]}, Roots: roots}},
		Contexts:   []proxy.Context{{SPIFFE: spiffe, LeafSerial: leaf.X509.SerialNumber.Text(16)}},
	}
}

// everywhere replaces the roots of all who publish and hold them.
func (w *world) everywhere(roots ...*pki.Certificate) {
	bundle := pki.NewBundle(roots...)
	w.plane().CA.Root = bundle
	for i := range w.s.Namespaces {
		w.s.Namespaces[i].Trust.Bundle = bundle
	}
	for i := range w.s.Webhooks {
		w.s.Webhooks[i].CABundle = bundle
	}
	for i := range w.s.Proxies {
		w.s.Proxies[i].Loaded.Identities[0].Roots = roots
	}
}

func (w *world) run() check.Report { return check.Run(w.s, check.DefaultPolicy()) }

func has(findings []check.Finding, id string, severity pki.Severity) bool {
	return slices.ContainsFunc(findings, func(f check.Finding) bool { return f.ID == id && f.Severity == severity })
}
