package rotation_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// ahead is a clock that is not set as the cluster's is.
type ahead struct {
	wall
	by time.Duration
}

func (c ahead) Now() time.Time { return c.wall.Now().Add(c.by) }

// Whoever rotates may have a clock that is wrong: what is restarted, and what counts as
// restarted, is the same.
func TestClockOfTheOperator(t *testing.T) {
	rows := map[string]func(*testing.T) *bench{"adopted": func(t *testing.T) *bench {
		self, _ := ca(t, "S")
		b := newBench(t, func(s *rehearsal.Spec) { brief(s); s.Source, s.CA = mesh.CASelfSigned, self })
		b.oldRoot = self
		b.config.Strategy, b.engine.Timeout = rotation.BundleByRenewal, 24*time.Hour
		return b
	}}
	for i, row := range roads {
		rows[row.name] = func(t *testing.T) *bench { return road(t, i) }
	}
	for name, row := range rows {
		for _, skew := range []time.Duration{-20 * time.Second, 20 * time.Second} {
			t.Run(fmt.Sprintf("%s/%s", name, skew), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b, other := row(t), row(t)
					other.skew, other.engine.Clock = skew, ahead{by: skew}
					for _, b := range []*bench{b, other} {
						if err := b.run(); err != nil {
							t.Fatal(err)
						}
						b.whole()
						b.ended()
					}
					if right, wrong := b.restarts(), other.restarts(); right != wrong {
						t.Errorf("%d istiods and %d pods are restarted, and not %d and %d", wrong[0], wrong[1], right[0], right[1])
					}
				})
			})
		}
	}
}

// restarts are those of istiods and of workloads that the last event counts.
func (b *bench) restarts() [2]int {
	last := b.events[len(b.events)-1]
	if last.Kind != rotation.EventDone {
		b.t.Fatalf("it ends with %s", last.Kind)
	}
	return [2]int{last.Figures.Restarts, last.Figures.Workloads}
}

// Machines wake up hours behind, or are set by hand: whether a certificate holds is asked on
// the cluster's clock. By the operator's, whatever had just been issued was not valid yet, or
// what lives for minutes had expired.
func TestClockOfTheOperatorIsFarOff(t *testing.T) {
	for name, row := range map[string]struct {
		skew time.Duration
		mesh func(*rehearsal.Spec)
	}{
		"hours behind":                  {-3 * time.Hour, nil},
		"ahead by more than a leaf has": {30 * time.Minute, func(s *rehearsal.Spec) { s.TTL = 20 * time.Minute }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, row.mesh)
				b.skew, b.engine.Clock = row.skew, ahead{by: row.skew}
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				b.whole()
				b.ended()
				if took := b.events[len(b.events)-1].Figures.Engine; took > 60 {
					t.Errorf("it takes %.0f seconds", took)
				}
			})
		})
	}
}
