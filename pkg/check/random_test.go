package check_test

import (
	"slices"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"pgregory.net/rapid"
)

// drawer makes Snapshots with any of their parts missing.
type drawer struct {
	t     *rapid.T
	certs []*pki.Certificate
}

func (d drawer) list(label string) []*pki.Certificate {
	return rapid.SliceOfN(rapid.SampledFrom(d.certs), 0, 3).Draw(d.t, label)
}
func (d drawer) bundle(label string) pki.Bundle { return pki.NewBundle(d.list(label)...) }
func (d drawer) yes(label string) bool          { return rapid.Bool().Draw(d.t, label) }
func (d drawer) word(words ...string) string    { return rapid.SampledFrom(words).Draw(d.t, "word") }
func (d drawer) version() string {
	return d.word("", "1.30.3", "1.24.4", "1.24", "latest", "1.27.0-rc.0", "0.8.0")
}
func (d drawer) span() mesh.Duration {
	return mesh.Duration(rapid.SampledFrom([]time.Duration{0, -time.Hour, time.Hour, 100 * 24 * time.Hour}).Draw(d.t, "span"))
}
func (d drawer) anchor() *mesh.TrustAnchor {
	if !d.yes("anchor") {
		return nil
	}
	return &mesh.TrustAnchor{Name: d.word("", "istio-ca-root-cert"), Bundle: d.bundle("trust"), Immutable: d.yes("immutable"), Error: d.word("", "cut")}
}

func (d drawer) replica() mesh.Istiod {
	r := mesh.Istiod{Pod: d.word("", "istiod-1", "istiod-2"), Version: d.version()}
	if d.yes("served") {
		r.Served = &proxy.Served{Chain: d.list("served chain")}
	}
	if d.yes("signed") {
		r.Signed = &proxy.Signed{Chain: d.list("signed chain"), Roots: d.list("signed roots")}
	}
	return r
}

func (d drawer) plane() mesh.ControlPlane {
	p := mesh.ControlPlane{Namespace: d.word("", "istio-system"), Name: d.word("", "istiod"), Revision: d.word("", "default", "canary"), Version: d.version(), Settled: d.yes("settled"), Desired: 1}
	p.Flags.DefaultWorkloadTTL, p.Flags.MaxWorkloadTTL = d.span(), d.span()
	p.CA = mesh.CASource{
		Kind:   mesh.CAKind(d.word("", "self-signed", "cacerts", "cacerts-tls", "kubernetes-signer", "istio-csr", "citadel", "unsupported", "unknown")),
		Exists: d.yes("exists"), Cert: d.bundle("cert"), Chain: d.bundle("chain"), Root: d.bundle("root"), Error: d.word("", "broken"), HasKey: d.yes("key"),
	}
	for range rapid.IntRange(0, 2).Draw(d.t, "replicas") {
		p.Replicas = append(p.Replicas, d.replica())
	}
	return p
}

func (d drawer) proxy() mesh.Proxy {
	p := mesh.Proxy{Namespace: d.word("", "a"), Name: d.word("p", "q"), Kind: mesh.ProxyKind(d.word("", "sidecar", "ztunnel")), Version: d.version(), Revision: d.word("", "canary"), Ready: d.yes("ready"),
		Starting: d.yes("starting"), SecretTTL: d.span(), GraceRatio: rapid.Float64Range(-1, 2).Draw(d.t, "ratio"), Reach: mesh.Reach(d.word("", "push", "restart", "nonsense"))}
	if !d.yes("loaded") {
		return p
	}
	p.Loaded = &proxy.Loaded{Evidence: proxy.Evidence(d.word("", "config_dump", "certs", "ztunnel_config_dump")), Info: proxy.Info{Envoy: d.word("", "1.37.0", "x")}}
	for range rapid.IntRange(0, 2).Draw(d.t, "identities") {
		p.Loaded.Identities = append(p.Loaded.Identities, proxy.Identity{SPIFFE: d.word("", "spiffe://x"), Chain: d.list("chain"), Roots: d.list("roots")})
	}
	if d.yes("contexts") {
		p.Loaded.Contexts = []proxy.Context{{SPIFFE: d.word("", "spiffe://x"), LeafSerial: d.word("", "ff")}}
	}
	return p
}

func (d drawer) snapshot() *mesh.Snapshot {
	s := &mesh.Snapshot{MeshCACertificates: d.list("mesh config"), ClusterTrustBundle: d.anchor(), ClockSkew: d.span()}
	if d.yes("time") {
		s.TakenAt = clock()
	}
	for range rapid.IntRange(0, 2).Draw(d.t, "planes") {
		s.ControlPlanes = append(s.ControlPlanes, d.plane())
	}
	for range rapid.IntRange(0, 2).Draw(d.t, "namespaces") {
		s.Namespaces = append(s.Namespaces, mesh.Namespace{Name: d.word("", "a", "istio-system"), Trust: d.anchor()})
	}
	for range rapid.IntRange(0, 2).Draw(d.t, "webhooks") {
		s.Webhooks = append(s.Webhooks, mesh.Webhook{Service: d.word("", "/", "istio-system/istiod"), CABundle: d.bundle("caBundle"), Error: d.word("", "cut")})
	}
	for range rapid.IntRange(0, 3).Draw(d.t, "proxies") {
		s.Proxies = append(s.Proxies, d.proxy())
	}
	if d.yes("leftover") {
		s.LeftoverCASecret = &mesh.CASource{Cert: d.bundle("leftover")}
	}
	for range rapid.IntRange(0, 2).Draw(d.t, "gaps") {
		s.Gaps = append(s.Gaps, mesh.Gap{Resource: d.word("", "pods", "secrets", "configmaps", "nodes"), Error: "x"})
	}
	return s
}

// TestAnySnapshot: no rule panics on a Snapshot with parts missing, and each
// either passes, finds something or says why it did neither.
func TestAnySnapshot(t *testing.T) {
	w := newWorld(t)
	certs := []*pki.Certificate{
		w.root.Cert, w.ca.Cert, w.other.Cert, w.next.Cert, pki.NewCertificate(nil), pki.NewCertificate([]byte{0x30, 0}),
		w.leaf(w.ca, "spiffe://x", clock(), day), w.leaf(w.next, "", clock().Add(-3*day), day, "istiod.istio-system.svc"),
	}
	rapid.Check(t, func(t *rapid.T) {
		s := drawer{t, certs}.snapshot()
		report := check.Run(s, check.DefaultPolicy())
		gone := map[string]bool{}
		for _, g := range s.Gaps {
			gone[g.Resource] = true
		}
		for _, rule := range check.Rules() {
			findings, looked := rule.Run(s, check.DefaultPolicy())
			passed := slices.Contains(report.Passed, rule.ID)
			skipped := slices.ContainsFunc(report.Skipped, func(k check.Skip) bool { return k.Rule == rule.ID && k.Why != "" })
			unread := slices.ContainsFunc(rule.Reads, func(r string) bool { return gone[r] })
			if rule.Facts {
				findings = slices.DeleteFunc(findings, func(f check.Finding) bool { return f.Severity == isInfo })
			}
			switch {
			case len(findings) > 0 && (passed || skipped):
				t.Fatalf("%s found something, and passed or was skipped", rule.ID)
			case len(findings) == 0 && passed == skipped:
				t.Fatalf("%s: passed %t, skipped %t", rule.ID, passed, skipped)
			case passed && (looked == 0 || unread):
				t.Fatalf("%s passed: looked at %d, unread %t", rule.ID, looked, unread)
			}
		}
		for _, f := range report.Findings {
			if f.ID == "" || f.Object == "" || f.Message == "" || f.Category == "" || f.Severity == "" {
				t.Fatalf("a finding says too little: %+v", f)
			}
		}
	})
}
