package rotation_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A run whose Lease was taken over ends, and leaves the journal to whoever has it.
func TestTakenOverLeavesTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		const other = `{"id":"another run's"}`
		journal := func() *corev1.ConfigMap {
			all, err := b.mesh.Kube.CoreV1().ConfigMaps("istio-system").List(b.ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=" + mesh.ManagedBy})
			if err != nil || len(all.Items) != 1 {
				t.Fatalf("%d journals: %v", len(all.Items), err)
			}
			return &all.Items[0]
		}
		emit := b.engine.Emit
		b.engine.Emit = func(e rotation.Event) {
			emit(e)
			if e.Kind != rotation.EventPassed || e.Phase != rotation.TrustNew {
				return
			}
			leases := b.mesh.Kube.CoordinationV1().Leases("istio-system")
			lease, err := leases.Get(b.ctx, "meshca-rotation", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			holder, now := "bob@desk/7", metav1.NewMicroTime(time.Now())
			lease.Spec.HolderIdentity, lease.Spec.RenewTime = &holder, &now
			if _, err := leases.Update(b.ctx, lease, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			theirs := journal()
			theirs.Data["state"] = other
			if _, err := b.mesh.Kube.CoreV1().ConfigMaps("istio-system").Update(b.ctx, theirs, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.run(); !errors.Is(err, rotation.ErrHeld) {
			t.Errorf("it ends with %v", err)
		}
		if now := journal().Data["state"]; now != other {
			t.Errorf("the journal is written over: %s", now)
		}
	})
}
