package rotation_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// closet sees a mesh with a namespace whose trust ConfigMap is not there.
type closet struct{ *bench }

func (o closet) Observe(ctx context.Context, what rotation.Observation) (*mesh.Snapshot, error) {
	s, err := o.bench.Observe(ctx, what)
	if err == nil && what.Proxies {
		s.Namespaces = append(s.Namespaces, mesh.Namespace{Name: "full"})
	}
	return s, err
}

// A namespace whose trust ConfigMap istiod cannot write (a quota, a policy) may be accepted:
// whoever has to be started behind the others is, once, and counts as started.
func TestAcceptedConfigMapIsWaitedForNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *rehearsal.Spec) {
			s.MultiRoot, s.XDSAgent, s.TTL = false, false, 20*time.Minute
			s.Workloads = append(s.Workloads, rehearsal.Workload{Namespace: "b", Name: "old", Proxies: 2, Release: "1.19.3"})
		})
		b.config.Strategy, b.config.TrustFileWait, b.engine.Timeout = rotation.BundleByRestart, 2*time.Minute, 15*time.Minute
		b.engine.Observer, b.engine.Accept = closet{b}, map[string]string{"full/istio-ca-root-cert": "its quota is full, and nothing of the mesh is there"}
		b.engine.Until = rotation.TrustNew
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.whole()
		if last := b.events[len(b.events)-1]; last.Kind != rotation.EventStopped || last.Figures.Workloads != 2 {
			t.Errorf("it ends with %s, and %d pods of the one old workload were restarted, not 2", last.Kind, last.Figures.Workloads)
		}
	})
}
