package rotation_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// waited is a gate that b/app-1 keeps closed once new roots are out, and when it was
// looked at.
type waited struct {
	spoiler
	orders chan rotation.Command
	since  time.Time // the gate's first look
	looks  []time.Time
	// at are what happens so long after since.
	at map[time.Duration]func()
}

// small is a mesh that is cheap to look at a hundred times.
func small(s *rehearsal.Spec) { s.Replicas, s.Namespaces = 1, []string{"b"} }

func waitedAt(b *bench, at map[time.Duration]func()) *waited {
	w := &waited{orders: make(chan rotation.Command, 1), at: at}
	w.bench, w.spoil = b, func(*mesh.Proxy) {}
	b.engine.Observer, b.engine.Commands, b.engine.Timeout = w, w.orders, 20*time.Minute
	b.engine.Emit = func(e rotation.Event) {
		b.events = append(b.events, e)
		if e.Kind == rotation.EventWrite && e.Phase == rotation.TrustNew && w.since.IsZero() {
			w.since = time.Now()
			w.become(unread)
			for after, f := range w.at {
				time.AfterFunc(after, f)
			}
		}
	}
	return w
}

func (w *waited) Observe(ctx context.Context, o rotation.Observation) (*mesh.Snapshot, error) {
	if !w.since.IsZero() {
		w.looks = append(w.looks, time.Now())
	}
	return w.spoiler.Observe(ctx, o)
}

// between are how many looks there were.
func (w *waited) between(from, to time.Duration) (n int) {
	for _, at := range w.looks {
		if after := at.Sub(w.since); after >= from && after < to {
			n++
		}
	}
	return n
}

// A gate that stays closed is looked at ever less often, at least twice a minute, and
// for the last time when its time is over.
func TestClosedGateIsLookedAtLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, small)
		w := waitedAt(b, nil)
		var gate *rotation.GateError
		if err := b.run(); !errors.As(err, &gate) || !gate.TimedOut {
			t.Fatalf("it ends with %v", err)
		}
		early, late := w.between(0, time.Minute), w.between(18*time.Minute, 19*time.Minute)
		if early < 60 || late < 1 || late > 3 {
			t.Errorf("%d looks in the first minute, %d in the nineteenth", early, late)
		}
		for i, at := range w.looks[1:] {
			if pause := at.Sub(w.looks[i]); pause > 30*time.Second+time.Second {
				t.Fatalf("nobody looks for %s", pause)
			}
		}
		if last := time.Since(w.looks[len(w.looks)-1]); last > time.Second {
			t.Errorf("the last look is of %s before its end", last)
		}
	})
}

// What an operator says is heard at once, however rarely a gate is looked at by then;
// and so is that he leaves.
func TestCommandWakesAGate(t *testing.T) {
	const said = 12*time.Minute + 7*time.Second
	for name, row := range map[string]struct {
		command rotation.Command
		passes  bool
		ends    error
	}{
		"accept": {command: rotation.Command{Kind: rotation.CommandAccept, Object: "b/app-1", Reason: "it is drained"}, passes: true},
		"pause":  {command: rotation.Command{Kind: rotation.CommandPause}, ends: context.Canceled},
		"stop":   {ends: context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, small)
				ctx, cancel := context.WithCancel(b.ctx)
				defer cancel()
				b.ctx, b.engine.Until = ctx, rotation.TrustNew
				w := waitedAt(b, nil)
				w.at = map[time.Duration]func(){said: func() {
					if row.command.Kind != "" {
						w.orders <- row.command
					}
					if row.ends != nil {
						time.AfterFunc(2*time.Second, cancel)
					}
				}}
				err := b.run()
				if took := time.Since(w.since); row.ends != nil && (!errors.Is(err, row.ends) || took > said+3*time.Second) {
					t.Errorf("it ends with %v after %s", err, took)
				}
				if row.command.Kind != "" && w.between(said, said+time.Second) == 0 {
					t.Error("nobody looks when it is said")
				}
				for _, e := range b.events {
					if e.Kind == rotation.EventPassed && e.Phase == rotation.TrustNew && e.Time.After(w.since) {
						if took := e.Time.Sub(w.since); !row.passes || took > said+time.Second {
							t.Errorf("it opens after %s", took)
						}
						return
					}
				}
				if row.passes {
					t.Errorf("it does not open: %v", err)
				}
			})
		})
	}
}

// A pause that is longer than the gate's own time is no reason to look all the time.
func TestPausedGateIsLookedAtRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, small)
		w := waitedAt(b, nil)
		w.at = map[time.Duration]func(){
			time.Minute:   func() { w.orders <- rotation.Command{Kind: rotation.CommandPause} },
			2 * time.Hour: func() { w.orders <- rotation.Command{Kind: rotation.CommandResume} },
		}
		if err := b.run(); err == nil {
			t.Error("it opens")
		}
		if n := w.between(time.Hour, 90*time.Minute); n < 50 || n > 75 {
			t.Errorf("%d looks in half an hour", n)
		}
	})
}

// A soak ends when it is over, and not a long wait's pause later; and one that is longer
// than the gate's own time is no reason to look all the time.
func TestSoakEndsInTime(t *testing.T) {
	for _, soak := range []time.Duration{10 * time.Second, 30 * time.Minute} {
		t.Run(soak.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, small)
				w := waitedAt(b, nil)
				b.engine.Soak, b.engine.Until = soak, rotation.TrustNew
				const followed = 12*time.Minute + 7*time.Second
				w.at = map[time.Duration]func(){followed: func() { w.become(func(*mesh.Proxy) {}) }}
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				took := time.Since(w.since)
				if took < followed+soak || took > followed+soak+31*time.Second {
					t.Errorf("it opens after %s", took)
				}
				var open time.Time
				for _, at := range w.looks {
					if open.IsZero() && at.Sub(w.since) > followed {
						open = at
					}
				}
				if late := time.Since(open) - soak; late > 2*time.Second {
					t.Errorf("the soak ends %s late", late)
				}
				if n := w.between(30*time.Minute, 40*time.Minute); n > 30 {
					t.Errorf("%d looks in ten minutes of a soak", n)
				}
			})
		})
	}
}
