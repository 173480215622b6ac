package rotation_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

// What this engine cannot do safely is refused, by name and with a remedy, and
// whatever is spoiled here is refused for its own reason.
// cool takes everybody off the push: istiods have to be restarted.
func cool(s *mesh.Snapshot) {
	s.ControlPlanes[0].Flags.MultiRoot = false
	for i := range s.Proxies {
		s.Proxies[i].Reach, s.Proxies[i].ReachWhy = mesh.ReachRenewal, "in a test"
	}
}

// asleep adds a revision that was scaled to zero.
func asleep(s *mesh.Snapshot) {
	plane := s.ControlPlanes[0]
	plane.Name, plane.Revision, plane.Desired, plane.Updated, plane.Replicas, plane.Settled = "istiod-before", "before", 0, 0, nil, true
	s.ControlPlanes = append(s.ControlPlanes, plane)
}

func TestRefusals(t *testing.T) {
	rows := []struct {
		id    string
		spoil func(*mesh.Snapshot)
	}{
		{"no-istiod", func(s *mesh.Snapshot) { s.ControlPlanes = nil }},
		{"self-signed-bundle", func(s *mesh.Snapshot) {
			s.ControlPlanes[0].CA.Kind = mesh.CASelfSigned
			s.ControlPlanes[0].CA.Root.Certs = append(s.ControlPlanes[0].CA.Root.Certs, s.ControlPlanes[0].CA.Cert.Certs[0])
		}},
		{"kubernetes-signer", func(s *mesh.Snapshot) { s.ControlPlanes[0].CA.Kind = mesh.CARA }},
		{"istio-csr", func(s *mesh.Snapshot) { s.ControlPlanes[0].CA.Kind = mesh.CAIstioCSR }},
		{"spire", func(s *mesh.Snapshot) { s.ControlPlanes[0].CA.Kind = mesh.CASPIRE }},
		{"citadel", func(s *mesh.Snapshot) { s.ControlPlanes[0].CA.Kind = mesh.CACitadel }},
		{"managed", func(s *mesh.Snapshot) { s.ControlPlanes[0].CA.Kind = mesh.CAUnsupported }},
		{"ca-unknown", func(s *mesh.Snapshot) { s.ControlPlanes[0].CA.Kind = mesh.CAUnknown }},
		{"ca-unknown", func(s *mesh.Snapshot) {
			s.ControlPlanes[0].CA = mesh.CASource{Kind: mesh.CAUnknown, Namespace: "istio-system", Why: "its CA's files come from elsewhere"}
		}},
		{"immutable-secret", func(s *mesh.Snapshot) { s.ControlPlanes[0].CA.Immutable = true }},
		{"owned-secret", func(s *mesh.Snapshot) { s.ControlPlanes[0].CA.Owners = []string{"Flux"} }},
		{"crl", func(s *mesh.Snapshot) { s.ControlPlanes[0].CA.HasCRL = true }},
		{"crl", func(s *mesh.Snapshot) { s.Proxies[0].Loaded.Identities[0].CRLs = pki.ParseCRLs([]byte("\n")) }},
		{"crl", func(s *mesh.Snapshot) { s.Namespaces[0].CRL = &mesh.CRLMap{Name: "istio-ca-crl", InForce: true} }},
		{"crl", func(s *mesh.Snapshot) {
			s.Proxies[0].Kind, s.Proxies[0].ReadsCRL, s.Namespaces = mesh.Ztunnel, true, nil
		}},
		{"key-mismatch", func(s *mesh.Snapshot) { s.ControlPlanes[0].CA.KeyMatches = false }},
		{"ca-unreadable", func(s *mesh.Snapshot) { s.ControlPlanes[0].CA.Error = "root-cert.pem: no certificate in it" }},
		{"multi-cluster", func(s *mesh.Snapshot) { s.Remotes = []mesh.Remote{{Kind: "remote-secret", Name: "west"}} }},
		{"istiod-rollout", func(s *mesh.Snapshot) { s.ControlPlanes[0].Settled = false }},
		{"unreadable", func(s *mesh.Snapshot) {
			s.Gaps = []mesh.Gap{{Part: "pods", Resource: "pods", Verb: "list", Error: "forbidden"}}
		}},
		{"bad-release", func(s *mesh.Snapshot) { s.ControlPlanes[0].Version = "1.24.4" }},
		{"bad-release", func(s *mesh.Snapshot) { s.ControlPlanes[0].Version = "1.25.1" }},
		{"bad-release", func(s *mesh.Snapshot) { s.ControlPlanes[0].Version = "1.27.0-rc.0" }},
		{"old-release", func(s *mesh.Snapshot) { s.ControlPlanes[0].Version = "1.12.3" }},
		{"ambient", func(s *mesh.Snapshot) {
			s.Proxies = append(s.Proxies, mesh.Proxy{Namespace: "istio-system", Name: "ztunnel-x", Kind: mesh.Ztunnel})
		}},
		{"does-not-follow", func(s *mesh.Snapshot) { s.Proxies[0].Reach = mesh.ReachUnknown }},
		{"does-not-follow", func(s *mesh.Snapshot) { s.Proxies[0].Reach = mesh.ReachElsewhere }},
		{"own-serving-certificate", func(s *mesh.Snapshot) { s.ControlPlanes[0].OwnTLS = "the Secret istio-system/istiod-tls" }},
		{"several-cas", func(s *mesh.Snapshot) {
			other := s.ControlPlanes[0]
			other.Name, other.CA.Secret = "istiod-canary", "cacerts-canary"
			s.ControlPlanes = append(s.ControlPlanes, other)
		}},
		{"revision-left-out", func(s *mesh.Snapshot) { s.LeftOut = []string{"elsewhere/istiod", "istio-system/istiod-canary"} }},
		{"webhook-orphaned", func(s *mesh.Snapshot) { s.Webhooks[0].Revision = "gone" }},
		{"istiod-scaled-to-zero", func(s *mesh.Snapshot) { asleep(s); s.Webhooks[0].Revision = "before" }},
		{"istiod-scaled-to-zero", func(s *mesh.Snapshot) { asleep(s); s.Proxies[0].Revision = "before" }},
		{"istiod-paused", func(s *mesh.Snapshot) { cool(s); s.ControlPlanes[0].Paused = true }},
		{"istiod-unrollable", func(s *mesh.Snapshot) { cool(s); s.ControlPlanes[0].Controller = "StatefulSet" }},
		{"istiod-unrollable", func(s *mesh.Snapshot) { cool(s); s.ControlPlanes[0].Controller = "Pod" }},
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		read := func() *mesh.Snapshot {
			s, err := b.collector().Collect(b.ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.Gaps = nil
			return s
		}
		if p := rotation.NewPlan(read(), b.config); len(p.Refusals) > 0 {
			t.Fatalf("a whole mesh is refused: %+v", p.Refusals)
		}
		for _, row := range rows {
			s := read()
			row.spoil(s)
			p := rotation.NewPlan(s, b.config)
			i := slices.IndexFunc(p.Refusals, func(r rotation.Refusal) bool { return r.ID == row.id })
			if i < 0 {
				t.Errorf("%s: not refused for it: %+v", row.id, p.Refusals)
				continue
			}
			if r := p.Refusals[i]; r.Hint == "" || r.Why == "" || r.Object == "" {
				t.Errorf("%s: no object, reason or remedy: %+v", row.id, r)
			}
		}
	})
}

// Who does not follow istiod is one refusal for each remedy, and not one for each
// strategy with what would be the strategy's own: no flag and no key brings it along.
func TestRemedyOfWhoDoesNotFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		collect := func() *mesh.Snapshot {
			s, err := b.collector().Collect(b.ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.Gaps = nil
			return s
		}
		off := func(s *mesh.Snapshot, change func(*mesh.Proxy), proxies ...int) {
			for _, i := range proxies {
				change(&s.Proxies[i])
				s.Proxies[i].Reach, s.Proxies[i].ReachWhy = mesh.ReachOf(s.Proxies[i], s.ControlPlanes)
			}
		}
		spire := func(p *mesh.Proxy) { p.SPIRE = true }
		s := collect()
		off(s, spire, 0, 1)
		off(s, func(p *mesh.Proxy) { p.FileMounted = true }, 2)
		off(s, func(p *mesh.Proxy) { p.CAAddr = "other-ca.pki:443" }, 3)
		p := rotation.NewPlan(s, b.config)
		hints := []string{"SPIRE", "FILE_MOUNTED_CERTS", "CA_ADDR"}
		if len(p.Refusals) != len(hints) {
			t.Fatalf("%+v", p.Refusals)
		}
		for i, r := range p.Refusals {
			if r.ID != "does-not-follow" || !strings.Contains(r.Hint, hints[i]) || strings.Contains(r.Hint, "ISTIO_MULTIROOT_MESH") || strings.Contains(r.Hint, "key") {
				t.Errorf("%+v", r)
			}
		}
		if r := p.Refusals[0]; !strings.Contains(r.Object, s.Proxies[0].Ref()) || !strings.Contains(r.Object, s.Proxies[1].Ref()) {
			t.Errorf("not all are named: %+v", r)
		}
		// A strategy that was asked for, and that fails for a reason of its own, says that.
		s = collect()
		off(s, spire, 0)
		config := b.config
		config.Strategy = rotation.Intermediate
		if p := rotation.NewPlan(s, config); len(p.Refusals) != 1 || p.Refusals[0].ID != "no-intermediate" {
			t.Errorf("%+v", p.Refusals)
		}
		config.Strategy = rotation.BundleByRestart
		if p := rotation.NewPlan(s, config); len(p.Refusals) != 1 || p.Refusals[0].ID != "does-not-follow" {
			t.Errorf("%+v", p.Refusals)
		}
	})
}

// Where flags are on and the release is what stands in the way, flags are no remedy
// (istio 1.19.10 pilot/pkg/bootstrap/istio_ca.go, handleEvent).
func TestRemedyOfOldRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		for release, flags := range map[string]bool{"1.19.10": false, "1.26.8": true} {
			s, err := b.collector().Collect(b.ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.Gaps, s.ControlPlanes[0].Version = nil, release
			s.Proxies[0].Reach, s.Proxies[0].ReachWhy = mesh.ReachRenewal, "in a test"
			config := b.config
			config.Strategy = rotation.HotBundle
			p := rotation.NewPlan(s, config)
			i := slices.IndexFunc(p.Refusals, func(r rotation.Refusal) bool { return r.ID == "no-hot-bundle" })
			if i < 0 {
				t.Errorf("%s: not refused: %+v", release, p.Refusals)
			} else if hint := p.Refusals[i].Hint; strings.Contains(hint, "ISTIO_MULTIROOT_MESH") != flags || strings.Contains(hint, "upgrade") == flags {
				t.Errorf("%s: the remedy is %q", release, hint)
			}
		}
	})
}

// A rotation that was killed while its own restart of istiod was under way is carried
// on: the rollout is waited for at the gates, which it keeps closed, and refuses nothing.
func TestResumedInItsOwnRollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s, err := b.collector().Collect(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Gaps, s.ControlPlanes[0].Settled = nil, false
		config := b.config
		config.Resumed = true
		if p := rotation.NewPlan(s, config); len(p.Refusals) > 0 {
			t.Errorf("refused: %+v", p.Refusals)
		}
		status := rotation.Expectation{}.Judge(s, nil)
		if status.Open() {
			t.Error("a gate is open in the middle of a rollout")
		}
	})
}

// A new CA that would break handshakes is refused before anything is written.
func TestMaterialIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s, err := b.collector().Collect(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Gaps = nil
		_, sameNames := ca(t, "A") // the old CA's names, other keys
		if p := rotation.NewPlan(s, rotation.Config{New: sameNames, CSRProof: true}); len(p.Warnings) == 0 {
			t.Error("the old CA's own names are no word worth")
		}
		other, _ := ca(t, "C")
		foreign := *b.new
		foreign.Roots = pki.NewBundle(other.Cert) // another root than the one that signed it
		if p := rotation.NewPlan(s, rotation.Config{New: &foreign}); len(p.Refusals) == 0 {
			t.Error("an intermediate that does not hang from its root is taken")
		}
		keyless := *b.new
		keyless.Key = b.old.Key
		if p := rotation.NewPlan(s, rotation.Config{New: &keyless}); len(p.Refusals) == 0 {
			t.Error("a key that is not the certificate's is taken")
		}
	})
}

// A dry run on the server names the next write and keeps nothing.
func TestDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s, err := b.collector().Collect(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Gaps = nil
		asked := false
		b.mesh.Kube.PrependReactor("update", "secrets", func(a k8stesting.Action) (bool, runtime.Object, error) {
			u := a.(k8stesting.UpdateActionImpl)
			asked = len(u.UpdateOptions.DryRun) == 1 && u.UpdateOptions.DryRun[0] == "All"
			return true, u.GetObject(), nil
		})
		step, more, err := rotation.DryRun(b.ctx, b.mesh.Kube, rotation.NewPlan(s, b.config), nil)
		if err != nil || !more || step.Phase != rotation.TrustNew || !asked {
			t.Errorf("phase %q, more %v, asked to keep nothing %v: %v", step.Phase, more, asked, err)
		}
	})
}

// What stands in the way of one strategy alone, or is of another mesh, refuses nothing.
func TestNoRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		for name, spoil := range map[string]func(*mesh.Snapshot){
			"an istiod of another namespace is left out":      func(s *mesh.Snapshot) { s.LeftOut = []string{"elsewhere/istiod"} },
			"a paused istiod that needs no restart":           func(s *mesh.Snapshot) { s.ControlPlanes[0].Paused = true },
			"an istiod of another controller, and no restart": func(s *mesh.Snapshot) { s.ControlPlanes[0].Controller = "StatefulSet" },
			"a revision scaled to zero that has left nothing": asleep,
			"a webhook that a revision scaled to zero never wrote": func(s *mesh.Snapshot) {
				asleep(s)
				s.Webhooks = append(s.Webhooks, mesh.Webhook{Config: "istiod-before", Name: "validation.istio.io", Revision: "before", Blank: true, Error: "caBundle: empty"})
			},
			"another istiod of the revision that was scaled to zero": func(s *mesh.Snapshot) {
				asleep(s)
				s.ControlPlanes[len(s.ControlPlanes)-1].Revision = s.ControlPlanes[0].Revision
			},
			"a webhook without a revision":                        func(s *mesh.Snapshot) { s.Webhooks[0].Revision = "" },
			"everybody off the push, and istiods that can follow": cool,
		} {
			s, err := b.collector().Collect(b.ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.Gaps = nil
			spoil(s)
			if p := rotation.NewPlan(s, b.config); len(p.Refusals) > 0 {
				t.Errorf("%s: %+v", name, p.Refusals)
			}
		}
	})
}

// Where everybody is reached by push, a strategy that is for others says that it has
// nobody to wait for; where nobody is, how many it has.
func TestWhoLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		for name, row := range map[string]struct {
			spoil            func(*mesh.Snapshot)
			renewal, restart string
		}{
			"hot":  {func(*mesh.Snapshot) {}, "every proxy is reached by push: none has to wait", "every proxy is reached by push: no workload"},
			"cold": {cool, "proxies follow with their next certificates, no workload is restarted", "proxies are not reached by push: the workloads of these are restarted"},
		} {
			s, err := b.collector().Collect(b.ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.Gaps = nil
			row.spoil(s)
			said := map[rotation.Strategy]string{}
			for _, o := range rotation.NewPlan(s, b.config).Options {
				said[o.Strategy] = o.Why
			}
			if !strings.Contains(said[rotation.BundleByRenewal], row.renewal) || !strings.Contains(said[rotation.BundleByRestart], row.restart) {
				t.Errorf("%s: %q and %q", name, said[rotation.BundleByRenewal], said[rotation.BundleByRestart])
			}
		}
	})
}
