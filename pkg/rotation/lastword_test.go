package rotation_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

// Whoever takes the Lease once a run has let it go has the journal for himself: why that run
// ended is written before, or what he has proven would be written over.
func TestLastWordUnderTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		released, written, after := false, 0, 0
		b.mesh.Kube.PrependReactor("*", "*", func(action k8stesting.Action) (bool, runtime.Object, error) {
			switch a := action.(type) {
			case k8stesting.UpdateActionImpl:
				lease, ok := a.Object.(*coordinationv1.Lease)
				released = released || ok && *lease.Spec.HolderIdentity == ""
			case k8stesting.PatchActionImpl:
				if a.Resource.Resource == "configmaps" {
					written++
					if released {
						after++
					}
				}
			}
			return false, nil, nil
		})
		b.engine.Emit = func(e rotation.Event) {
			if e.Kind == rotation.EventWrite && e.Phase == rotation.TrustNew {
				b.mesh.Freeze("b/app-0")
			}
		}
		if err := b.run(); !errors.Is(err, rotation.ErrClosed) {
			t.Fatal(err)
		}
		if !released || written == 0 || after > 0 {
			t.Errorf("released %t, the journal is written %d times, %d of them afterwards", released, written, after)
		}
		journals, err := rotation.Journals(b.ctx, b.mesh.Kube, "istio-system")
		if err != nil || len(journals) != 1 || journals[0].Failure == "" {
			t.Errorf("why it ended is not kept: %+v, %v", journals, err)
		}
	})
}
