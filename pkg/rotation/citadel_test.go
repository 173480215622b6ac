package rotation_test

import (
	"crypto/x509/pkix"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// TestS9_CitadelGate: every Secret by DER, every Envoy by the first CA of each live
// context; whatever was not seen keeps it closed.
func TestS9_CitadelGate(t *testing.T) {
	at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	old, err := pki.NewRoot(pki.Request{Subject: pkix.Name{Organization: []string{"cluster.local"}}, Now: at.Add(-300 * 24 * time.Hour), Lifetime: 365 * 24 * time.Hour, PathLen: -1})
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := old.RenewRoot(at, 0)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := renewed.IssueLeaf(pki.LeafRequest{SPIFFE: "spiffe://cluster.local/ns/a/sa/b", Public: renewed.Key.Public(), Now: at, Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	context := func(root *pki.Certificate) proxy.Context {
		return proxy.Context{SPIFFE: "spiffe://cluster.local/ns/a/sa/b", LeafUntil: at.Add(time.Hour), CASerial: root.X509.SerialNumber.Text(16), CAFrom: root.X509.NotBefore}
	}
	good := func() *mesh.Snapshot {
		return &mesh.Snapshot{TakenAt: at,
			ControlPlanes: []mesh.ControlPlane{{Namespace: "istio-system", Name: "istio-citadel", Settled: true, Desired: 1, CA: mesh.CASource{Kind: mesh.CACitadel},
				Replicas: []mesh.Istiod{{Pod: "citadel-1", Started: at}}}},
			WorkloadSecrets: []mesh.WorkloadSecret{{Namespace: "a", Name: "istio.b", Chain: []*pki.Certificate{leaf}, Roots: renewed.Roots.Certs}, {Namespace: "c", Name: "istio.unused", Chain: []*pki.Certificate{leaf}, Roots: renewed.Roots.Certs}},
			Proxies:         []mesh.Proxy{{Namespace: "a", Name: "p", Loaded: &proxy.Loaded{Evidence: proxy.EvidenceCerts, Contexts: []proxy.Context{context(renewed.Cert)}}}},
		}
	}
	expect := rotation.Expectation{Citadel: true, Roots: renewed.Roots.Certs, Trusted: renewed.Roots.Certs}
	if status := expect.Judge(good(), nil); !status.Open() || status.Secrets.Ready != 2 {
		t.Fatalf("all is well, and it is closed: %v", status.Blockers)
	}
	for name, test := range map[string]struct {
		spoil func(*mesh.Snapshot)
		want  string
	}{
		"a Secret of the old certificate": {func(s *mesh.Snapshot) { s.WorkloadSecrets[1].Roots = old.Roots.Certs }, "c/istio.unused: it holds another root"},
		"a Secret whose leaf has ended":   {func(s *mesh.Snapshot) { s.TakenAt = at.Add(2 * time.Hour) }, "a/istio.b: its certificate would not be accepted"},
		"a Secret that is none":           {func(s *mesh.Snapshot) { s.WorkloadSecrets[0].Error = "no PEM" }, "a/istio.b: no PEM"},
		"no Secret at all":                {func(s *mesh.Snapshot) { s.WorkloadSecrets = nil }, "no Secret of Citadel's was seen"},
		"Secrets may not be listed": {func(s *mesh.Snapshot) {
			s.Gaps = []mesh.Gap{{Part: "workload certificates", Resource: "secrets", Error: "forbidden"}}
		}, "workload certificates: forbidden"},
		"one context is old": {func(s *mesh.Snapshot) {
			s.Proxies[0].Loaded.Contexts = append(s.Proxies[0].Loaded.Contexts, context(old.Cert))
		}, "a/p: a live context trusts the root valid from"},
		"a proxy that cannot be read": {func(s *mesh.Snapshot) { s.Proxies[0].Loaded, s.Proxies[0].Error = nil, "timeout" }, "a/p: unreadable: timeout"},
		"no Citadel":                  {func(s *mesh.Snapshot) { s.ControlPlanes[0].Replicas, s.ControlPlanes[0].Desired = nil, 0 }, "no replica"},
		"a rollout":                   {func(s *mesh.Snapshot) { s.ControlPlanes[0].Settled = false }, "its rollout is not complete"},
	} {
		s := good()
		test.spoil(s)
		status := expect.Judge(s, nil)
		if !slices.ContainsFunc(status.Blockers, func(b rotation.Blocker) bool { return strings.Contains(b.String(), test.want) }) {
			t.Errorf("%s: %q is not among %v", name, test.want, status.Blockers)
		}
	}
	two := rotation.Expectation{Citadel: true, Trusted: append(slices.Clone(old.Roots.Certs), renewed.Cert)}
	if status := two.Judge(good(), nil); !slices.ContainsFunc(status.Blockers, func(b rotation.Blocker) bool { return b.Unknown && strings.Contains(b.Why, "only the first root") }) {
		t.Errorf("two roots are proven by files: %v", status.Blockers)
	}
}

// TestOldAPIServer: a rotation's lock is a Lease of coordination.k8s.io/v1 (Kubernetes
// 1.14), and one of before 1.12 would keep what a dry run sends. What names no release of
// Kubernetes is not refused.
func TestOldAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		for version, refused := range map[string]bool{"v1.9.11": true, "v1.13.12-gke.25": true, "v1.14.0": false, "v1.36.3": false, "v0.0.0-master+$Format:%H$": false, "": false} {
			s, err := b.collector().Collect(b.ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.Cluster.Version = version
			p := rotation.NewPlan(s, b.config)
			if got := slices.ContainsFunc(p.Refusals, func(r rotation.Refusal) bool { return r.ID == "old-api-server" && r.Hint != "" }); got != refused {
				t.Errorf("%q: refused %t", version, got)
			}
		}
	})
}

// TestCitadelBesideIstiods: on a mesh under way from Citadel to istiod each is judged by
// its own kind: istiods and what they publish are not passed over.
func TestCitadelBesideIstiods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		look := func() *mesh.Snapshot {
			s, err := b.collector().Collect(b.ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.Gaps = nil
			b.prober.Probe(b.ctx, s, b.old.Roots.Certs)
			leaf, err := b.old.IssueLeaf(pki.LeafRequest{SPIFFE: "spiffe://cluster.local/ns/z/sa/old", Public: b.old.Key.Public(), Now: time.Now(), Lifetime: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			s.ControlPlanes = append(s.ControlPlanes, mesh.ControlPlane{Namespace: "istio-system", Name: "istio-citadel", Settled: true, Desired: 1,
				CA: mesh.CASource{Kind: mesh.CACitadel}, Replicas: []mesh.Istiod{{Pod: "citadel-1", Started: time.Now()}}})
			s.WorkloadSecrets = []mesh.WorkloadSecret{{Namespace: "z", Name: "istio.old", Chain: []*pki.Certificate{leaf, b.old.Cert}, Roots: b.old.Roots.Certs}}
			return s
		}
		s := look()
		expect, ok := rotation.Present(s)
		if !ok {
			t.Fatal("no roots")
		}
		status := expect.Judge(s, nil)
		if !status.Open() || status.ConfigMaps.Of == 0 || status.Webhooks.Of == 0 || status.Secrets.Of != 1 || !strings.Contains(status.Evidence, "chain served") && !strings.Contains(status.Evidence, "request") {
			t.Errorf("istiods or what they publish are not judged: %+v", status)
		}
		for name, spoil := range map[string]func(*mesh.Snapshot){
			"an istiod that cannot be read": func(s *mesh.Snapshot) {
				s.ControlPlanes[0].Replicas[0].Served, s.ControlPlanes[0].Replicas[0].Signed = nil, nil
			},
			"a ConfigMap with another root":    func(s *mesh.Snapshot) { s.Namespaces[0].Trust.Bundle = b.new.Roots },
			"a webhook called by another root": func(s *mesh.Snapshot) { s.Webhooks[0].CABundle = b.new.Roots },
			"a Secret of another root":         func(s *mesh.Snapshot) { s.WorkloadSecrets[0].Roots = b.new.Roots.Certs },
		} {
			s := look()
			spoil(s)
			if expect.Judge(s, nil).Open() {
				t.Errorf("FALSE PASS: %s", name)
			}
		}
	})
}

// TestCitadelByHand: what a Citadel's CA cannot be changed to here is refused with all
// that an operator has to do, and with the outage that it costs.
func TestCitadelByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		for id, row := range map[string]struct {
			secret string
			says   []string
		}{
			"citadel-key":     {"istio-ca-secret", []string{"--strategy same-key", "upgrade to istiod", "restart Citadel", "Galley, Pilot and the injector", "in 5m40s or so", "kubectl meshca verify"}},
			"citadel-plugged": {"cacerts", []string{"ca-cert.pem, ca-key.pem and cert-chain.pem", "leave root-cert.pem byte for byte", "no outage", "For another root", "in 5m40s or so"}},
		} {
			s, err := b.collector().Collect(b.ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.ControlPlanes[0].CA.Kind, s.ControlPlanes[0].CA.Secret = mesh.CACitadel, row.secret
			s.WorkloadSecrets = make([]mesh.WorkloadSecret, 167)
			p := rotation.NewPlan(s, b.config)
			i := slices.IndexFunc(p.Refusals, func(r rotation.Refusal) bool { return r.ID == id })
			if i < 0 {
				t.Fatalf("%s is not among %v", id, p.Refusals)
			}
			for _, text := range row.says {
				if !strings.Contains(p.Refusals[i].Hint, text) {
					t.Errorf("%s does not say %q: %s", id, text, p.Refusals[i].Hint)
				}
			}
		}
	})
}
