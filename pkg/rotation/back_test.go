package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

// roads are the strategies that a rehearsed mesh without workload controllers can
// play, each on a mesh of its kind.
var roads = []struct {
	name     string
	strategy rotation.Strategy
	mesh     func(*rehearsal.Spec)
	prepare  func(*bench)
}{
	{"hot", rotation.HotBundle, nil, nil},
	{"hot, by bytes", rotation.HotBundle, func(s *rehearsal.Spec) { s.Release = "1.24.6" }, nil},
	{"cold", rotation.BundleByRenewal, brief, nil},
	{"istiod hot, proxies cold", rotation.BundleByRenewal, func(s *rehearsal.Spec) { s.XDSAgent, s.TTL, s.Proxies = false, time.Minute, 1 }, nil},
	{"cross-signed", rotation.CrossSign, brief, func(b *bench) { b.cross() }},
	{"intermediate", rotation.Intermediate, brief, (*bench).sameRoot},
	{"intermediate, hot", rotation.Intermediate, nil, (*bench).sameRoot},
	{"waves", rotation.BundleByRestart, func(s *rehearsal.Spec) { mixed(s); s.TTL, s.Proxies = 10*time.Minute, 1 }, nil},
}

// sameRoot makes the new CA an intermediate of the old root.
func (b *bench) sameRoot() {
	b.t.Helper()
	signer, err := b.oldRoot.NewIntermediate(pki.Request{Subject: name("intermediate A2"), Key: pki.ECDSAP256, Now: time.Now(), PathLen: 0})
	if err != nil {
		b.t.Fatal(err)
	}
	b.new = signer
	b.config.New = signer
}

func road(t *testing.T, i int) *bench {
	t.Helper()
	b := newBench(t, roads[i].mesh)
	if roads[i].prepare != nil {
		roads[i].prepare(b)
	}
	b.config.Strategy, b.engine.Timeout = roads[i].strategy, 3*24*time.Hour
	return b
}

func (b *bench) phases() []rotation.Phase {
	phases := b.config.Strategy.Phases()
	return phases[1 : len(phases)-1]
}

// restored requires that the old CA is the mesh's alone.
func (b *bench) restored() {
	b.t.Helper()
	b.whole()
	secret, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Get(b.ctx, "cacerts", metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	files, err := b.old.Files()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range files.All() {
		if string(secret.Data[f.Name]) != string(f.Data) {
			b.t.Errorf("%s is not what it was", f.Name)
		}
	}
	if last := b.events[len(b.events)-1]; last.Kind != rotation.EventRolledBack {
		b.t.Errorf("the last event is %s: %s", last.Kind, last.Message)
	}
}

func TestEveryRoad(t *testing.T) {
	for i, row := range roads {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := road(t, i)
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				b.whole()
				b.ended()
			})
		})
	}
}

// From the end of every phase of every strategy there is a way back, and forward
// again, without a failed pair.
func TestBackFromEveryPhase(t *testing.T) {
	for i, row := range roads {
		if testing.Short() && i%2 == 1 {
			continue // every other one is enough for the race detector
		}
		for n := range len(row.strategy.Phases()) - 2 {
			t.Run(fmt.Sprintf("%s/%s", row.name, row.strategy.Phases()[n+1]), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := road(t, i)
					b.engine.Until = b.phases()[n]
					if err := b.run(); err != nil {
						t.Fatal(err)
					}
					b.engine.Until, b.engine.Back = "", true
					if err := b.run(); err != nil {
						t.Fatalf("back: %v", err)
					}
					b.restored()
					if err := b.run(); err != nil {
						t.Errorf("back once more, which is a proof and no write: %v", err)
					}
					b.restored()
					b.engine.Back = false
					if err := b.run(); err != nil {
						t.Fatalf("forward again: %v", err)
					}
					b.whole()
					b.ended()
				})
			})
		}
	}
}

// A way back that is ended after any write goes on, and can be turned again.
func TestBackKilled(t *testing.T) {
	for i, row := range roads {
		if row.name != "hot" && row.name != "cold" && row.name != "cross-signed" {
			continue // the others write the same in the same order
		}
		for stop := 1; stop <= 3; stop++ {
			if testing.Short() && stop != 2 {
				continue
			}
			for _, turn := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/%v", row.name, stop, turn), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						b := road(t, i)
						if err := b.run(); err != nil {
							t.Fatal(err)
						}
						ctx, kill := context.WithCancelCause(b.ctx)
						whole := b.ctx
						b.ctx, b.engine.Back = ctx, true
						writes := 0
						b.mesh.Kube.PrependReactor("update", "secrets", func(k8stesting.Action) (bool, runtime.Object, error) {
							if writes++; writes == stop {
								kill(errors.New("killed"))
							}
							return false, nil, nil
						})
						err := b.run()
						b.ctx, b.engine.Holder = whole, "another machine"
						if err == nil {
							b.restored()
							return
						}
						if turn {
							b.engine.Back = false
							if err := b.run(); err != nil {
								t.Fatalf("turned after write %d: %v", stop, err)
							}
							b.whole()
							b.ended()
							return
						}
						if err := b.run(); err != nil {
							t.Fatalf("resumed after write %d: %v", stop, err)
						}
						b.restored()
					})
				})
			}
		}
	}
}

// brief is a cold mesh whose leaves are renewed every half minute.
func brief(s *rehearsal.Spec) {
	s.MultiRoot, s.XDSAgent, s.TTL, s.Proxies = false, false, time.Minute, 1
}

// Who goes back from the first write of a cross-signed rotation does not wait until
// everybody has a certificate of the CA that he leaves.
func TestBackFromTheFirstCrossedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *rehearsal.Spec) { cold(s); s.TTL = 24 * time.Hour })
		b.cross()
		b.config.Strategy, b.engine.Timeout = rotation.CrossSign, time.Minute
		if err := b.run(); !errors.Is(err, rotation.ErrClosed) {
			t.Fatalf("it ends with %v", err)
		}
		b.engine.Back, b.config.Back = true, true
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.restored()
	})
}
