package scenario_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// B: a nudge has the whole mesh ask for certificates. It is for those whom a push
// reaches and who lag without following; nobody else is helped by one.
func TestNudges(t *testing.T) {
	for _, row := range []struct {
		name   string
		spec   func(*bench, *rehearsal.Spec)
		spoil  func(*bench)
		nudges int
		ends   bool
	}{
		// A replica that has not loaded the last bundle hands out the one before, once.
		{"all follow", nil, nil, 2, true},
		{"all follow slowly", func(_ *bench, s *rehearsal.Spec) { s.Proxies = 20; spread(nil, s); s.Spread = 20 * time.Second }, nil, 3, true},
		{"one is cold", beside(rehearsal.Workload{Cold: true}), nil, 1, true},
		{"all are cold, istiod is hot", func(_ *bench, s *rehearsal.Spec) { s.XDSAgent = false }, nil, 0, true},
		{"one hangs", nil, func(b *bench) { b.must(b.mesh.Hang("b/app-1")); b.trial.Timeout = 10 * time.Minute }, 8, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, row.spec)
				if row.spoil != nil {
					row.spoil(b)
				}
				nudges := map[rotation.Phase]int{}
				total := 0
				b.trial.Emit = func(e rotation.Event) {
					if e.Kind == rotation.EventNudge {
						nudges[e.Phase]++
						total++
					}
				}
				if out := b.trial.Run(b.ctx); (out.Err == nil) != row.ends {
					t.Fatalf("it ends with %v", out.Err)
				}
				if total > row.nudges {
					t.Errorf("the mesh is nudged %d times, %d are enough: %v", total, row.nudges, nudges)
				}
				if !row.ends && total == 0 {
					t.Error("nobody is nudged")
				}
			})
		})
	}
}

// B: what a step has not asked of proxies it does not call proven.
func TestListedIsNotProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		out := b.trial.Run(b.ctx)
		b.must(out.Err)
		asked := 0
		for _, e := range out.Events {
			if e.Kind != rotation.EventPassed {
				continue
			}
			listed := e.Step == "signer"
			if e.Gate.Listed != listed || strings.Contains(e.Message, "4 of 4 proxies") == listed || strings.Contains(e.Message, "4 proxies listed and none asked") != listed {
				t.Errorf("%s (%s): %s", e.Phase, e.Step, e.Message)
			}
			if !listed {
				asked++
			}
		}
		if asked < 4 {
			t.Errorf("%d gates asked for proxies", asked)
		}
		journals, err := rotation.Journals(b.ctx, b.mesh.Kube, "istio-system")
		b.must(err)
		for _, g := range journals[0].Gates {
			if g.Listed != (g.Step == "signer") {
				t.Errorf("the journal says of %s (%s): listed %v", g.Phase, g.Step, g.Listed)
			}
		}
	})
}

// D1: an agent's requests share a connection, on which istiod's certificate was judged
// when it was made. While that is open a new signer is followed at once, though the pod's
// trust file is still that of before; once it has been closed for its age it is not.
func TestOpenConnection(t *testing.T) {
	for name, row := range map[string]struct {
		pause time.Duration // between new trust and the new signer
		lags  bool
	}{"open": {0, false}, "closed for its age": {40 * time.Minute, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(_ *bench, s *rehearsal.Spec) { s.FileLag, s.TTL = 2*time.Hour, 24*time.Hour })
				b.trial.Config.TrustFileWait, b.trial.Timeout = 0, 5*time.Hour
				nudges, paused := 0, false
				b.trial.Emit = func(e rotation.Event) {
					switch {
					case e.Kind == rotation.EventPassed && e.Phase == rotation.TrustNew && !paused:
						paused = true
						time.Sleep(row.pause)
					case e.Kind == rotation.EventNudge && e.Phase == rotation.SignNew:
						nudges++
					}
				}
				if out := b.trial.Run(b.ctx); out.Err != nil || !paused {
					t.Fatalf("it ends with %v", out.Err)
				}
				if lags := nudges > 0; lags != row.lags {
					t.Errorf("proxies lag behind the new signer: %t, %d nudges", lags, nudges)
				}
			})
		})
	}
}
