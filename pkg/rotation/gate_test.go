package rotation_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// looker keeps what the engine asked for.
type looker struct {
	*bench
	looks []rotation.Observation
}

func (l *looker) Observe(ctx context.Context, o rotation.Observation) (*mesh.Snapshot, error) {
	l.looks = append(l.looks, o)
	return l.bench.Observe(ctx, o)
}

// However little is read while a gate is closed, it opens on one look at the whole
// mesh: who was as expected a while ago may not be any more.
func TestGateOpensOnOneLookAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *rehearsal.Spec) { cold(s); s.Proxies, s.Random = 20, rand.New(rand.NewPCG(1, 2)) })
		b.config.Strategy = rotation.BundleByRenewal
		l := &looker{bench: b}
		b.engine.Observer, b.engine.Timeout = l, 24*time.Hour
		settling, passed, seen := 0, 0, 0
		emit := b.engine.Emit
		b.engine.Emit = func(e rotation.Event) {
			if emit(e); e.Kind != rotation.EventPassed {
				return
			}
			passed++
			for _, look := range l.looks[seen:] {
				if len(look.Settled) > 0 {
					settling++
				}
			}
			seen = len(l.looks)
			if last := l.looks[seen-1]; len(last.Settled) > 0 {
				t.Errorf("%s: %d of %d proxies were not read by the look that opened the gate", e.Phase, len(last.Settled), e.Gate.Proxies.Of)
			}
		}
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.whole()
		if passed == 0 || settling == 0 {
			t.Errorf("%d gates opened, %d looks left proxies out: this shows nothing", passed, settling)
		}
	})
}
