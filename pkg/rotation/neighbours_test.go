package rotation_test

import (
	"errors"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
)

// putBack has somebody else write the CA of the start over what a rotation has written.
func (b *bench) putBack() (now func()) {
	var before map[string][]byte
	b.secret(func(s *corev1.Secret) { before = maps.Clone(s.Data) })
	return func() { b.secret(func(s *corev1.Secret) { s.Data = maps.Clone(before) }) }
}

// pauseAfter pauses once a phase is proven, has something done meanwhile, and resumes.
func (b *bench) pauseAfter(phase rotation.Phase, meanwhile func()) chan<- rotation.Command {
	orders := make(chan rotation.Command, 8)
	b.engine.Commands = orders
	b.after(rotation.EventPassed, phase, func() {
		orders <- rotation.Command{Kind: rotation.CommandPause}
		time.AfterFunc(10*time.Minute, meanwhile)
		time.AfterFunc(3*time.Hour, func() { orders <- rotation.Command{Kind: rotation.CommandResume} })
	})
	return orders
}

// Signer and bundle never change in one write, also where somebody else has put the CA of
// before back since a phase was proven: only what that phase wrote is written over.
func TestPutBackMeanwhile(t *testing.T) {
	for name, row := range map[string]struct {
		mesh     func(*rehearsal.Spec)
		strategy rotation.Strategy
		when     func(b *bench, putBack func())
	}{
		"in the wait for files": {nil, rotation.HotBundle, func(b *bench, putBack func()) {
			b.config.TrustFileWait = 2 * time.Minute
			b.after(rotation.EventWait, rotation.TrustNew, putBack)
		}},
		"in the wait for files, cold proxies": {func(s *rehearsal.Spec) { s.XDSAgent, s.TTL = false, 2*time.Minute }, rotation.BundleByRenewal, func(b *bench, putBack func()) {
			b.config.TrustFileWait = 2 * time.Minute
			b.after(rotation.EventWait, rotation.TrustNew, putBack)
		}},
		"in a pause":                 {nil, rotation.HotBundle, func(b *bench, putBack func()) { b.pauseAfter(rotation.TrustNew, putBack) }},
		"in a pause before the last": {brief, rotation.BundleByRenewal, func(b *bench, putBack func()) { b.pauseAfter(rotation.SignNew, putBack) }},
		"at the end": {brief, rotation.BundleByRenewal, func(b *bench, putBack func()) {
			b.after(rotation.EventRestart, rotation.DistrustOld, func() { time.AfterFunc(10*time.Second, putBack) })
		}},
		"between two layouts": {func(s *rehearsal.Spec) { s.XDSAgent, s.TTL = false, 2*time.Minute }, rotation.BundleByRenewal, func(b *bench, putBack func()) {
			b.after(rotation.EventWrite, rotation.TrustNew, func() { time.AfterFunc(3*time.Second, putBack) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, row.mesh)
				b.config.Strategy, b.engine.Timeout = row.strategy, 2*time.Hour
				putBack := b.putBack()
				var done atomic.Bool // what waits is beside the run
				row.when(b, func() {
					putBack()
					done.Store(true)
				})
				var over []string
				emit := b.engine.Emit
				b.engine.Emit = func(e rotation.Event) {
					if emit(e); done.Load() && e.Kind == rotation.EventWrite && e.Object == "secret istio-system/cacerts" {
						over = append(over, e.Message)
					}
				}
				err := b.run()
				var gate *rotation.GateError
				if closed := errors.As(err, &gate) && gate.TimedOut; !done.Load() || !errors.Is(err, rotation.ErrForeign) && !closed {
					t.Errorf("put back %v, and it ends with %v", done.Load(), err)
				}
				if len(over) > 0 {
					t.Errorf("written over what was put back: %v", over)
				}
				b.whole()
				if row.mesh != nil && row.strategy == rotation.BundleByRenewal && strings.Contains(name, "before the last") || name == "at the end" {
					return // istiods have to be started anew first: what they sign with is not what stands there
				}
				b.engine.Commands, b.engine.Emit = nil, emit
				if err := b.run(); err != nil {
					t.Errorf("once more, it ends with %v", err)
				}
				b.whole()
				b.ended()
			})
		})
	}
}

// A mesh that was proven and then waited for is proven once more before it is written to:
// whoever has come or changed meanwhile was not.
func TestProvenOnceMoreAfterAWait(t *testing.T) {
	for name, wait := range map[string]func(b *bench, spoil func()){
		"for files": func(b *bench, spoil func()) {
			b.config.TrustFileWait = 2 * time.Minute
			b.after(rotation.EventWait, rotation.TrustNew, spoil)
		},
		"in a pause":                        func(b *bench, spoil func()) { b.pauseAfter(rotation.TrustNew, spoil) },
		"in a pause before the first write": func(b *bench, spoil func()) { b.pauseAfter(rotation.Prepare, spoil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				o := &spoiler{bench: b, spoil: func(*mesh.Proxy) {}}
				b.engine.Observer, b.engine.Timeout = o, 20*time.Minute
				var spoilt atomic.Bool
				wait(b, func() {
					o.become(unread)
					spoilt.Store(true)
				})
				emit := b.engine.Emit
				b.engine.Emit = func(e rotation.Event) {
					if emit(e); spoilt.Load() && e.Kind == rotation.EventWrite && e.Object == "secret istio-system/cacerts" {
						t.Errorf("written to a mesh that is not proven: %s", e.Message)
					}
				}
				err := b.run()
				var gate *rotation.GateError
				if !spoilt.Load() || !errors.As(err, &gate) || !strings.Contains(err.Error(), "b/app-1") {
					t.Errorf("spoilt %v, and it ends with %v", spoilt.Load(), err)
				}
				b.engine.Observer, b.engine.Commands, b.engine.Emit = b, nil, emit
				if err := b.run(); err != nil {
					t.Errorf("once more, it ends with %v", err)
				}
				b.whole()
				b.ended()
			})
		})
	}
}

// Who is accepted unread in a pause is waited for as everybody else who is.
func TestAcceptedInAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *rehearsal.Spec) { cold(s); s.TTL = time.Hour })
		o := &spoiler{bench: b, spoil: func(*mesh.Proxy) {}}
		b.config.Strategy, b.engine.Observer, b.engine.Timeout = rotation.BundleByRenewal, o, 24*time.Hour
		var orders chan<- rotation.Command
		orders = b.pauseAfter(rotation.TrustNew, func() {
			o.become(unread)
			orders <- rotation.Command{Kind: rotation.CommandAccept, Object: "b/app-1", Reason: "it is looked at by hand"}
		})
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		var resumed, written time.Time
		for _, e := range b.events {
			switch {
			case e.Kind == rotation.EventResumed:
				resumed = e.Time
			case e.Kind == rotation.EventWrite && e.Phase == rotation.SignNew && written.IsZero():
				written = e.Time
			}
		}
		if waited := written.Sub(resumed); waited < time.Hour {
			t.Errorf("the signer is written %s after the pause, in which somebody was accepted unread", waited)
		}
		b.whole()
	})
}
