package rotation_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Whoever else proves removes the account at his end: the token is asked for anew then, and
// a gate does not wait until the old one was to be replaced.
func TestAccountRemovedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.engine.Until = rotation.TrustNew
		removed, emit := false, b.engine.Emit
		b.engine.Emit = func(e rotation.Event) {
			if emit(e); e.Kind == rotation.EventWrite && !removed {
				removed = true
				if err := b.mesh.Kube.CoreV1().ServiceAccounts("istio-system").Delete(b.ctx, mesh.ProbeAccount, metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			}
		}
		if err := b.run(); err != nil || !removed {
			t.Fatalf("removed %v: %v", removed, err)
		}
		if first, last := b.events[0].Time, b.events[len(b.events)-1].Time; last.Sub(first) > time.Minute {
			t.Errorf("it took %s", last.Sub(first))
		}
	})
}
