package rotation_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// secret changes the CA Secret, as somebody else would.
func (b *bench) secret(change func(*corev1.Secret)) {
	b.t.Helper()
	secrets := b.mesh.Kube.CoreV1().Secrets("istio-system")
	s, err := secrets.Get(b.ctx, "cacerts", metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	change(s)
	if _, err := secrets.Update(b.ctx, s, metav1.UpdateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) kept() rotation.Journal {
	b.t.Helper()
	journal, err := rotation.ReadStaged(b.ctx, b.mesh.Kube, "istio-system")
	if err != nil || journal == nil {
		b.t.Fatalf("what is kept: %v, %v", journal, err)
	}
	return *journal
}

// after has f done once, when the first write of a kind of Event has been told.
func (b *bench) after(kind rotation.EventKind, phase rotation.Phase, f func()) {
	emit, done := b.engine.Emit, false
	b.engine.Emit = func(e rotation.Event) {
		if emit(e); !done && e.Kind == kind && e.Phase == phase {
			done = true
			f()
		}
	}
}

// A rotation that has ended, either way, is open again with the next write: what is kept
// of both CAs is not destroyed then.
func TestReopened(t *testing.T) {
	for name, back := range map[string][]bool{"back from its end": {true}, "forward again": {true, false}, "the CA of before was put back": {false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				b.sameRoot() // either signer is taken at once, whoever writes it
				b.config.Strategy = rotation.Intermediate
				var before map[string][]byte
				b.secret(func(s *corev1.Secret) { before = s.Data })
				run := func() {
					if err := b.run(); err != nil {
						t.Fatal(err)
					}
					if journal := b.kept(); !journal.Over() {
						t.Errorf("it has ended, and is in phase %s", journal.Phase)
					}
				}
				run()
				for _, way := range back[:len(back)-1] {
					b.engine.Back = way
					run()
				}
				if b.engine.Back = back[len(back)-1]; !b.engine.Back && len(back) == 1 {
					b.secret(func(s *corev1.Secret) { s.Data = before })
					time.Sleep(time.Hour)
				}
				seen := 0
				emit := b.engine.Emit
				b.engine.Emit = func(e rotation.Event) {
					if emit(e); e.Kind == rotation.EventWrite && e.Object == "secret istio-system/cacerts" {
						if seen++; b.kept().Over() {
							t.Errorf("%s is written, and the journal says that it has ended", e.Message)
						}
					}
				}
				run()
				if seen == 0 {
					t.Error("nothing was written")
				}
			})
		})
	}
}

// What somebody else keeps in the CA Secret stays as it is now, not as it was when the
// rotation began; a list of revoked certificates that appears stops it.
func TestEntriesOfOthersStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.secret(func(s *corev1.Secret) { s.Data["removed"], s.Data["changed"] = []byte("1"), []byte("1") })
		b.after(rotation.EventWrite, rotation.TrustNew, func() {
			b.secret(func(s *corev1.Secret) {
				delete(s.Data, "removed")
				s.Data["changed"], s.Data["added"] = []byte("2"), []byte("2")
			})
		})
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.ended()
		b.secret(func(s *corev1.Secret) {
			if _, there := s.Data["removed"]; there || string(s.Data["changed"]) != "2" || string(s.Data["added"]) != "2" {
				t.Errorf("removed %q, changed %q, added %q", s.Data["removed"], s.Data["changed"], s.Data["added"])
			}
		})
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.after(rotation.EventPassed, rotation.TrustNew, func() { // right before the next write
			b.secret(func(s *corev1.Secret) { s.Data["ca-crl.pem"] = []byte("a list") })
		})
		if err := b.run(); !errors.Is(err, rotation.ErrForeign) {
			t.Errorf("it ends with %v", err)
		}
		b.secret(func(s *corev1.Secret) {
			if len(s.Data["ca-crl.pem"]) == 0 {
				t.Error("the list is gone")
			}
			delete(s.Data, "ca-crl.pem")
		})
		if err := b.run(); err != nil {
			t.Errorf("without it, it ends with %v", err)
		}
	})
}

// Where the CA of before was put back under a rotation, its steps are proven anew.
func TestRevertedIsUnproven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, mixed)
		b.config.Strategy, b.engine.Timeout, b.engine.Until = rotation.BundleByRestart, 3*24*time.Hour, rotation.TrustNew
		var before map[string][]byte
		b.secret(func(s *corev1.Secret) { before = s.Data })
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		b.secret(func(s *corev1.Secret) { s.Data = before })
		time.Sleep(time.Hour)
		again := time.Now()
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		journal := b.kept()
		for what, times := range map[string]map[string]time.Time{"published": journal.Published, "proven": journal.Proven} {
			if len(times) == 0 {
				t.Errorf("nothing was %s", what)
			}
			for step, at := range times {
				if at.Before(again.Truncate(time.Second)) {
					t.Errorf("%s was %s at %s, before the CA of before was there again", step, what, at)
				}
			}
		}
		b.engine.Until = ""
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.whole()
		b.ended()
	})
}

// A copy is sealed whenever that is asked for, of the CA of the start: also by a run that
// carries on one which sealed none.
func TestSealedOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.engine.Until = rotation.SignNew
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		var sealed []rotation.SecretCopy
		b.engine.Until, b.engine.Seal = "", func(old rotation.SecretCopy) (string, error) { sealed = append(sealed, old); return "before.age", nil }
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		if len(sealed) != 1 || !slices.Equal(sealed[0].Data["ca-cert.pem"], b.old.Cert.PEM()) || b.kept().Sealed != "before.age" {
			t.Errorf("%d copies, and the journal names %q", len(sealed), b.kept().Sealed)
		}
	})
}

// Of a CA that is there already nobody says that it is trusted alone where it is not.
func TestRootsBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		foreign, _ := ca(t, "F")
		b := newBench(t, nil)
		b.config.New = b.old
		s, err := b.collector().Collect(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Gaps = nil
		for _, row := range []struct {
			beside  bool
			reason  rotation.Reason
			refused bool
		}{{}, {reason: rotation.Compromised}, {beside: true}, {beside: true, reason: rotation.Compromised, refused: true}} {
			there := *s
			there.ControlPlanes = slices.Clone(s.ControlPlanes)
			if row.beside {
				there.ControlPlanes[0].CA.Root.Certs = append(slices.Clone(s.ControlPlanes[0].CA.Root.Certs), foreign.Cert)
			}
			config := b.config
			config.Reason = row.reason
			p := rotation.NewPlan(&there, config)
			of := func(all []rotation.Refusal) bool {
				return slices.ContainsFunc(all, func(r rotation.Refusal) bool { return r.ID == "roots-beside" })
			}
			if !p.AlreadyDone || of(p.Refusals) != row.refused || of(p.Warnings) != (row.beside && !row.refused) {
				t.Errorf("%+v: done %v, refusals %v, warnings %v", row, p.AlreadyDone, p.Refusals, p.Warnings)
			}
		}
	})
}

// The old CA may end under a rotation: from where the new one signs and is trusted, the
// way forward goes on, and the way back is refused by what it is.
func TestOldCAEndsUnderWay(t *testing.T) {
	for what, ends := range map[string]struct{ root, signer time.Duration }{"its root": {2 * time.Hour, 2 * time.Hour}, "its intermediate": {48 * time.Hour, 2 * time.Hour}} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root, err := pki.NewRoot(pki.Request{Subject: name("root short"), Key: pki.ECDSAP256, Now: time.Now(), PathLen: -1, Lifetime: ends.root})
				if err != nil {
					t.Fatal(err)
				}
				signer, err := root.NewIntermediate(pki.Request{Subject: name("intermediate short"), Key: pki.ECDSAP256, Now: time.Now(), PathLen: 0, Lifetime: ends.signer})
				if err != nil {
					t.Fatal(err)
				}
				b := newBench(t, func(s *rehearsal.Spec) { s.CA, s.TTL = signer, time.Hour })
				b.oldRoot, b.old, b.engine.Until = root, signer, rotation.SignNew
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Hour)
				b.engine.Back, b.config.Back, b.engine.Until = true, true, ""
				if err := b.run(); !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "going back would cut every proxy off") {
					t.Errorf("back, it ends with %v", err)
				}
				b.engine.Back, b.config.Back = false, false
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				b.whole()
				b.ended()
			})
		})
	}
}
