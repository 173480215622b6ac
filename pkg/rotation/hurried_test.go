package rotation_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// A bundle that waits for renewals goes on by restarts where that is asked for, and the
// other way round: the writes are the same.
func TestAnotherBundleHalfWay(t *testing.T) {
	for from, to := range map[rotation.Strategy]rotation.Strategy{rotation.BundleByRenewal: rotation.BundleByRestart, rotation.BundleByRestart: rotation.BundleByRenewal} {
		t.Run(string(from), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(s *rehearsal.Spec) { mixed(s); s.Workloads[0].TTL = 20 * time.Minute })
				b.config.Strategy, b.engine.Timeout, b.engine.Until = from, time.Hour, rotation.TrustNew
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				b.config.Strategy, b.engine.Until, b.events = to, "", nil
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				if plan := b.events[0].Plan; plan.Strategy != to {
					t.Errorf("it goes on by %s", plan.Strategy)
				}
				b.whole()
				b.ended()
			})
		})
	}
}
