package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

// ending is a mesh whose root and intermediate end after a time.
func ending(t *testing.T, left time.Duration, change func(*rehearsal.Spec)) *bench {
	t.Helper()
	return endingAt(t, left, left, change)
}

// endingAt is one whose root and intermediate have ends of their own.
func endingAt(t *testing.T, ofRoot, ofSigner time.Duration, change func(*rehearsal.Spec)) *bench {
	t.Helper()
	root, err := pki.NewRoot(pki.Request{Subject: name("root short"), Key: pki.ECDSAP256, Now: time.Now(), PathLen: -1, Lifetime: ofRoot})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := root.NewIntermediate(pki.Request{Subject: name("intermediate short"), Key: pki.ECDSAP256, Now: time.Now(), PathLen: 0, Lifetime: ofSigner})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(s *rehearsal.Spec) { s.CA = signer; change(s) })
	b.oldRoot, b.old = root, signer
	return b
}

// What is waited for once everybody has a certificate of the new CA rests on nothing of
// the old root: a strategy is not too late for it.
func TestOldRootEndsBeforeItsLeaving(t *testing.T) {
	for _, row := range []struct {
		name     string
		strategy rotation.Strategy
		left     time.Duration
		possible bool
	}{
		{"restarts, and a renewal that nothing rests on", rotation.BundleByRestart, 100 * time.Minute, true},
		{"two renewals and one that nothing rests on", rotation.BundleByRenewal, 5 * time.Hour, true},
		{"two renewals are too long", rotation.BundleByRenewal, 200 * time.Minute, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := ending(t, row.left, func(s *rehearsal.Spec) { mixed(s); s.TTL = 4 * time.Hour })
				b.config.Strategy, b.engine.Timeout = row.strategy, 48*time.Hour
				err := b.run()
				if plan := b.events[0].Plan; !row.possible {
					if !slices.ContainsFunc(plan.Refusals, func(r rotation.Refusal) bool { return strings.Contains(r.Why, "the old root ends in") }) {
						t.Errorf("it is not too late: %v, %v", plan.Refusals, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				b.whole()
				b.ended()
			})
		})
	}
}

// Half-way there is no other way than on: less time than the whole takes is no reason to
// leave the mesh where it is.
func TestTooLateHalfWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := ending(t, 30*time.Hour, cold)
		b.config.Strategy, b.engine.Timeout, b.engine.Until = rotation.BundleByRenewal, 24*time.Hour, rotation.TrustNew
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(29*time.Hour + 52*time.Minute) // of two renewals of ten minutes each 8 are left
		b.config.Strategy, b.engine.Until, b.events = "", "", nil
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		if plan := b.events[0].Plan; !slices.ContainsFunc(plan.Warnings, func(r rotation.Refusal) bool { return r.ID == "too-late" }) {
			t.Errorf("nobody is told: %v", plan.Warnings)
		}
		b.ended()
	})
}

// A CA that ends under a rotation before the new root has taken its place leaves no way
// without loss: recover takes it from where it stands, killed and carried on too.
func TestRecoverHalfWay(t *testing.T) {
	for _, row := range []struct {
		name  string
		mesh  func(*rehearsal.Spec)
		until rotation.Phase
		cross bool
	}{
		{"cross-signed", cold, rotation.SignNew, true},
		{"both roots", nil, rotation.TrustNew, false},
	} {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/killed %v", row.name, killed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := ending(t, 2*time.Hour, func(s *rehearsal.Spec) {
						if row.mesh != nil {
							row.mesh(s)
						}
					})
					if row.cross {
						b.cross()
					}
					b.engine.Timeout, b.engine.Until = 24*time.Hour, row.until
					if err := b.run(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(3 * time.Hour)
					b.engine.Until = ""
					if err := b.run(); !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "ended at") {
						t.Errorf("it ends with %v", err)
					}
					b.config.Strategy = rotation.Recover
					if killed {
						whole := b.ctx
						ctx, kill := context.WithCancelCause(whole)
						b.ctx = ctx
						b.mesh.Kube.PrependReactor("update", "secrets", func(k8stesting.Action) (bool, runtime.Object, error) {
							kill(errors.New("killed"))
							return false, nil, nil
						})
						if err := b.run(); err == nil {
							t.Fatal("killed, and it says that it is done")
						}
						b.ctx, b.config.Strategy, b.engine.Holder = whole, "", "another machine"
					}
					if err := b.run(); err != nil {
						t.Fatal(err)
					}
					b.ended()
					time.Sleep(time.Minute)
					b.mesh.Failures() // all that has happened is judged
					if n := b.mesh.Traffic().Failing; n > 0 {
						t.Errorf("%d pairs are refused still", n)
					}
				})
			})
		}
	}
}
