package rotation_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// nodes sees a mesh whose kubelets' clocks are off, by which containers are stamped.
type nodes struct {
	*bench
	ahead time.Duration
}

func (n nodes) Observe(ctx context.Context, o rotation.Observation) (*mesh.Snapshot, error) {
	s, err := n.bench.Observe(ctx, o)
	if err != nil {
		return nil, err
	}
	for i := range s.ControlPlanes {
		for j := range s.ControlPlanes[i].Replicas {
			r := &s.ControlPlanes[i].Replicas[j]
			r.Started = r.Started.Add(n.ahead)
		}
	}
	for i := range s.Proxies {
		s.Proxies[i].Started = s.Proxies[i].Started.Add(n.ahead)
	}
	return s, nil
}

// The clock of a node is nobody's: istiods whose starts are stamped early are seen to be
// restarted, and those of before whose starts are stamped late are not.
func TestClocksOfTheNodes(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Minute, -10 * time.Second, 10 * time.Second, 10 * time.Minute} {
		t.Run(fmt.Sprint(ahead), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				self, _ := ca(t, "S")
				b := newBench(t, func(s *rehearsal.Spec) { brief(s); s.Source, s.CA = mesh.CASelfSigned, self })
				b.oldRoot = self
				b.config.Strategy, b.engine.Timeout, b.engine.Until = rotation.BundleByRenewal, 10*time.Minute, rotation.Adopt
				b.engine.Observer = nodes{b, ahead}
				before := b.snapshot().ControlPlanes[0].Replicas
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				for _, r := range b.snapshot().ControlPlanes[0].Replicas {
					if slices.ContainsFunc(before, func(o mesh.Istiod) bool { return o.UID == r.UID }) {
						t.Errorf("%s is proven, and has run since before", r.Pod)
					}
				}
				waited := slices.ContainsFunc(b.events, func(e rotation.Event) bool {
					return e.Kind == rotation.EventGate && slices.ContainsFunc(e.Gate.Blockers, func(b rotation.Blocker) bool { return strings.Contains(b.Why, "it is not restarted yet") })
				})
				if !waited {
					t.Error("none of the istiods of before was waited for")
				}
			})
		})
	}
}
