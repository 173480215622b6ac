package rotation_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

// mixed is a hot mesh with one workload off the push, whose leaves live a day.
func mixed(s *rehearsal.Spec) {
	s.Workloads = append(s.Workloads, rehearsal.Workload{Namespace: "b", Name: "other", Proxies: 2, Cold: true})
}

// Only the workload off the push is restarted, whoever carries the rotation on, and
// wherever the run before was killed.
func TestWavesAreCarriedOn(t *testing.T) {
	for stop := range 5 {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, mixed)
			b.config.Strategy, b.config.Reason, b.engine.Timeout = rotation.BundleByRestart, rotation.Compromised, time.Hour
			ctx, kill := context.WithCancelCause(b.ctx)
			whole := b.ctx
			b.ctx = ctx
			writes := 0
			b.mesh.Kube.PrependReactor("update", "secrets", func(k8stesting.Action) (bool, runtime.Object, error) {
				if writes++; writes == stop {
					kill(errors.New("killed"))
				}
				return false, nil, nil
			})
			if err := b.run(); stop == 0 && err != nil || stop > 0 && writes >= stop && err == nil {
				t.Fatalf("killed at write %d, it ends with %v", stop, err)
			}
			if stop > 0 {
				b.ctx, b.engine.Holder = whole, "another machine"
				if err := b.run(); err != nil {
					t.Fatalf("carried on after write %d: %v", stop, err)
				}
			}
			b.whole()
			b.ended()
			for _, e := range b.events {
				if e.Kind == rotation.EventWorkload && !strings.Contains(e.Object, "b/other") {
					t.Errorf("%s was restarted", e.Object)
				}
			}
		})
	}
}

// A pod that came up after the last proof, before any istiod had loaded the next step,
// needs its restart too.
func TestWavesTakeThoseThatCameBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *rehearsal.Spec) { mixed(s); s.Lag, s.Workloads[0].Proxies = 5*time.Second, 1 })
		b.config.Strategy, b.config.Reason, b.engine.Timeout = rotation.BundleByRestart, rotation.Compromised, time.Hour
		b.engine.AllowRestart = []string{"b/other"} // it is single
		replaced := false
		b.engine.Emit = func(e rotation.Event) {
			b.events = append(b.events, e)
			if e.Kind != rotation.EventWrite || e.Step != "both roots" || replaced {
				return
			}
			time.Sleep(2 * time.Second) // Kubernetes counts in seconds, and no istiod has loaded it yet
			pods, err := b.mesh.Kube.CoreV1().Pods("b").List(b.ctx, metav1.ListOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			for _, pod := range pods.Items {
				if strings.HasPrefix(pod.Name, "other") && !replaced {
					replaced = true
					if err := b.mesh.Replace("b/" + pod.Name); err != nil {
						t.Error(err)
					}
				}
			}
		}
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		if !replaced {
			t.Error("no pod was replaced")
		}
		b.whole()
		b.ended()
	})
}

// A share of failures that rises through the change closes the gate, by name; traffic
// that goes on as before, or none at all, does not.
func TestRisingFailuresCloseTheGate(t *testing.T) {
	for _, row := range []struct {
		name   string
		failed uint64 // of a hundred new connections at each look once the signer is switched
		total  uint64
		closed bool
	}{{"rising", 30, 100, true}, {"as before", 0, 100, false}, {"idle", 0, 0, false}} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				b.engine.Baseline, b.engine.Timeout = 10*time.Second, time.Minute
				var sum proxy.Upstream
				b.counters = func(changed bool) proxy.Upstream {
					sum.Connections, sum.Requests, sum.Successes = sum.Connections+row.total, sum.Requests+row.total, sum.Successes+row.total
					if changed {
						sum.ConnectFail += row.failed
					}
					return sum
				}
				err := b.run()
				b.whole()
				if !row.closed {
					if err != nil {
						t.Fatal(err)
					}
					b.ended()
					return
				}
				var gate *rotation.GateError
				if !errors.As(err, &gate) || !gate.TimedOut || !strings.Contains(err.Error(), "traffic failures: ") || !strings.Contains(err.Error(), "a/app-0") {
					t.Errorf("it ends with %v", err)
				}
			})
		})
	}
}

// So does one that is ordered, and left, while a gate is closed.
func TestPauseAtAGateEndsWithItsOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		orders := make(chan rotation.Command, 1)
		b.engine.Commands = orders
		left := false
		b.engine.Emit = func(e rotation.Event) {
			b.events = append(b.events, e)
			if e.Kind == rotation.EventGate && e.Phase == rotation.TrustNew && !left {
				left = true
				orders <- rotation.Command{Kind: rotation.CommandPause}
				close(orders)
			}
		}
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		if !left {
			t.Error("no gate was closed")
		}
		b.whole()
		b.ended()
	})
}

// Where nobody is left to resume it, a pause ends.
func TestPauseEndsWithItsOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		orders := make(chan rotation.Command, 1)
		b.engine.Commands = orders
		orders <- rotation.Command{Kind: rotation.CommandPause}
		go func() {
			time.Sleep(10 * time.Minute)
			close(orders)
		}()
		began := time.Now()
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 10*time.Minute {
			t.Errorf("it was paused for %s", took)
		}
		b.whole()
		b.ended()
	})
}

// A pause at a closed gate is the operator's time, and not the gate's: it has all of its
// own left when it is resumed.
func TestPauseTakesNoTimeOfAGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		name := b.mesh.Hold(1)
		orders := make(chan rotation.Command, 1)
		b.engine.Commands, b.engine.Timeout = orders, time.Minute
		var held, resumed time.Time
		b.engine.Emit = func(e rotation.Event) {
			b.events = append(b.events, e)
			if e.Kind == rotation.EventGate && e.Phase == rotation.TrustNew && held.IsZero() {
				held = time.Now()
				orders <- rotation.Command{Kind: rotation.CommandPause}
				time.AfterFunc(time.Hour, func() {
					resumed = time.Now()
					orders <- rotation.Command{Kind: rotation.CommandResume}
				})
			}
		}
		err := b.run()
		var gate *rotation.GateError
		if !errors.As(err, &gate) || !gate.TimedOut || !strings.Contains(err.Error(), name) {
			t.Errorf("it ends with %v", err)
		}
		if resumed.IsZero() || time.Since(resumed) < 30*time.Second || time.Since(resumed) > 2*time.Minute {
			t.Errorf("held at %s, resumed at %s, given up at %s", held, resumed, time.Now())
		}
	})
}

// Behind a restart of istiods no workload is replaced before proxies have come back to
// them: one that has not would call pods that are gone.
func TestWavesWaitForReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, mixed)
		b.config.Strategy, b.config.Reason, b.engine.Timeout = rotation.BundleByRestart, rotation.Compromised, time.Hour
		var loaded time.Time
		waves := 0
		emit := b.engine.Emit
		b.engine.Emit = func(e rotation.Event) {
			emit(e)
			switch {
			case e.Phase != rotation.DistrustOld:
			case e.Kind == rotation.EventGate && loaded.IsZero() && e.Gate.Replicas.Ready == 2:
				loaded = e.Time
			case e.Kind == rotation.EventWorkload:
				if waves++; loaded.IsZero() || e.Time.Sub(loaded) < 39*time.Second {
					t.Errorf("%s was restarted %s after istiods were", e.Object, e.Time.Sub(loaded))
				}
			}
		}
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.whole()
		if waves == 0 {
			t.Error("harness: no workload was restarted behind the istiods")
		}
	})
}
