package rotation_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// crls cover the old CA, for so long.
func (b *bench) crls(life time.Duration) []byte {
	return pairs.Lists(time.Now(), life, []*pki.Authority{b.oldRoot, b.old})
}

func (b *bench) restartIstiods() {
	b.t.Helper()
	patch := []byte(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"` + time.Now().String() + `"}}}}}`)
	if _, err := b.mesh.Kube.AppsV1().Deployments("istio-system").Patch(b.ctx, "istiod", "application/strategic-merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		b.t.Fatal(err)
	}
	time.Sleep(2 * time.Minute)
}

// withCRLs are how many sidecars a look finds a CRL at.
func withCRLs(s *mesh.Snapshot) int { return len(s.CRLUse().Proxies) }

// A CRL that is put into the CA Secret under a rotation closes its gates while the old CA
// signs, before anybody could be refused by it; taken out of the Secret it stays, and is
// refused, until istiod restarts; then the same command goes on.
func TestCRLComesUnderARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.after(rotation.EventWrite, rotation.TrustNew, func() {
			b.secret(func(s *corev1.Secret) { s.Data[pki.CRLFile] = b.crls(10 * 365 * 24 * time.Hour) })
		})
		var gate *rotation.GateError
		if err := b.run(); !errors.As(err, &gate) || gate.Phase != rotation.TrustNew || !slices.ContainsFunc(gate.Status.Blockers, func(b rotation.Blocker) bool { return b.ByCRL && !b.Unknown }) {
			t.Fatalf("it ends with %v", err)
		}
		for _, e := range b.events {
			if e.Kind == rotation.EventNudge {
				t.Errorf("a CRL is no reason to ask the mesh for certificates: %s", e.Message)
			}
		}
		b.secret(func(s *corev1.Secret) {
			if len(s.Data[pki.CRLFile]) == 0 {
				t.Error("the list is gone")
			}
			delete(s.Data, pki.CRLFile)
		})
		time.Sleep(time.Hour)
		if n := withCRLs(b.look()); n != 4 {
			t.Fatalf("%d proxies have it", n)
		}
		if err := b.run(); !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "CRL") {
			t.Fatalf("with one that stays, it ends with %v", err)
		}
		b.restartIstiods()
		if n := withCRLs(b.look()); n != 0 {
			t.Fatalf("%d proxies have it after a restart of istiod", n)
		}
		if err := b.run(); err != nil {
			t.Fatalf("without it, it ends with %v", err)
		}
		b.ended()
		if failed, judged := b.mesh.Failures(); len(failed) > 0 || judged == 0 {
			t.Errorf("%v", failed)
		}
	})
}

// The way back is no reason to stay: with a CRL in force the old CA is the one that it
// covers.
func TestBackUnderACRL(t *testing.T) {
	for name, row := range map[string]struct {
		until  rotation.Phase
		life   time.Duration // of the CRL
		proven bool
	}{
		"both roots":                {rotation.TrustNew, 365 * 24 * time.Hour, true},
		"signed by the new CA":      {rotation.SignNew, 365 * 24 * time.Hour, true},
		"one that ends on the way":  {rotation.SignNew, 2 * time.Hour, false},
		"both roots, and it's over": {rotation.TrustNew, 2 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				b.engine.Until, b.engine.Timeout = row.until, 10*time.Minute
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				b.mesh.MountCRL(b.crls(row.life))
				time.Sleep(3 * time.Hour)
				b.engine.Until, b.engine.Back, b.config.Back = "", true, true
				b.events = nil
				err := b.run()
				if (err == nil) != row.proven {
					t.Errorf("it ends with %v", err)
				}
				var gate *rotation.GateError
				if !row.proven && (!errors.As(err, &gate) || gate.Phase != rotation.Prepare || !strings.Contains(err.Error(), "CRL")) {
					t.Errorf("it is not the last gate that says so: %v", err)
				}
				if !slices.ContainsFunc(b.events, func(e rotation.Event) bool { return e.Kind == rotation.EventPlan }) {
					t.Error("no plan")
				}
			})
		})
	}
}

// What signs next is refused under a CRL whoever writes it, cert-manager too.
func TestManagedUnderACRL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *rehearsal.Spec) { s.Source = mesh.CAPluggedTLS })
		if _, err := b.mesh.Manage(b.oldRoot); err != nil {
			t.Fatal(err)
		}
		b.mesh.MountCRL(b.crls(time.Hour))
		s := b.look()
		for act, want := range map[rotation.Act]bool{rotation.Renew: true, rotation.Return: true, rotation.Release: false} {
			m := rotation.NewManaged(s, act, true, nil)
			if refused := slices.ContainsFunc(m.Refusals, func(r rotation.Refusal) bool { return r.ID == "crl" }); refused != want {
				t.Errorf("%s: refused is %v: %+v", act, refused, m.Refusals)
			}
		}
	})
}

// A copy of a CA that the CRLs in force do not cover, or whose own do not cover what
// lives, is a risk.
func TestSwapUnderACRL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		before := sealedCopy(b)
		if risks := rotation.SwapRisks(b.look(), before); len(risks) > 0 {
			t.Fatal(risks)
		}
		before.Data[pki.CRLFile] = pairs.Lists(time.Now(), time.Hour, []*pki.Authority{b.oldRoot})
		if risks := rotation.SwapRisks(b.look(), before); len(risks) == 0 || !risks[0].ByCRL {
			t.Errorf("its own CRLs lack one: %v", risks)
		}
		delete(before.Data, pki.CRLFile)
		b.mesh.MountCRL(pairs.Lists(time.Now(), time.Hour, []*pki.Authority{b.oldRoot}))
		if risks := rotation.SwapRisks(b.look(), before); len(risks) == 0 || !risks[0].ByCRL {
			t.Errorf("those in force lack one: %v", risks)
		}
		b.mesh.MountCRL(b.crls(time.Hour))
		if risks := rotation.SwapRisks(b.look(), before); len(risks) > 0 {
			t.Errorf("those in force cover it: %v", risks)
		}
	})
}

// The remedy names what is there: the Secret's entry where it has one, istiod by name, and
// nobody to restart where pods alone keep one.
func TestRemedyOfACRL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		hint := func(spoil func(*mesh.Snapshot)) string {
			s := b.look()
			spoil(s)
			for _, r := range rotation.NewPlan(s, b.config).Refusals {
				if r.ID == "crl" {
					return r.Hint
				}
			}
			return ""
		}
		const take, restart = "take ca-crl.pem out of istio-system/cacerts", "kubectl rollout restart deployment/istiod -n istio-system"
		for name, row := range map[string]struct {
			spoil         func(*mesh.Snapshot)
			take, restart bool
		}{
			"Secret, 1.26": {func(s *mesh.Snapshot) {
				s.ControlPlanes[0].CA.HasCRL, s.ControlPlanes[0].Flags.CRLConfigMap = true, ""
			}, true, false},
			"Secret":     {func(s *mesh.Snapshot) { s.ControlPlanes[0].CA.HasCRL = true }, true, true},
			"ConfigMaps": {func(s *mesh.Snapshot) { s.Namespaces[0].CRL = &mesh.CRLMap{Name: "istio-ca-crl", InForce: true} }, false, true},
			"a proxy": {func(s *mesh.Snapshot) {
				s.Proxies[0].Loaded = &proxy.Loaded{Identities: []proxy.Identity{{CRLs: pki.ParseCRLs([]byte("x"))}}}
			}, false, false},
		} {
			if h := hint(row.spoil); strings.Contains(h, take) != row.take || strings.Contains(h, restart) != row.restart || !strings.Contains(h, "kubectl meshca check") {
				t.Errorf("%s: %q", name, h)
			}
		}
		if h := hint(func(*mesh.Snapshot) {}); h != "" {
			t.Errorf("without any: %q", h)
		}
	})
}
