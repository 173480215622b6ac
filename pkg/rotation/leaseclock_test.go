package rotation_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A Lease is alive or dead by the cluster's clock: a machine that is ahead of it takes no
// rotation out of the hands of whoever runs it, and one that is behind waits no longer.
func TestLeaseByTheClustersClock(t *testing.T) {
	for _, row := range []struct {
		name  string
		ago   time.Duration // since its holder was heard of
		skew  time.Duration // of who comes
		taken bool
	}{
		{"alive, and who comes is ahead", 10 * time.Second, 5 * time.Minute, false},
		{"alive, and who comes is behind", 10 * time.Second, -5 * time.Minute, false},
		{"dead, and who comes is ahead", 2 * time.Minute, 5 * time.Minute, true},
		{"dead, and who comes is behind", 2 * time.Minute, -5 * time.Minute, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, small)
				b.skew, b.engine.Clock, b.engine.Until = row.skew, ahead{by: row.skew}, rotation.Prepare
				leases := b.mesh.Kube.CoordinationV1().Leases("istio-system")
				holder, at, seconds := "ann@laptop/41", metav1.NewMicroTime(time.Now().Add(-row.ago)), int32(60)
				if _, err := leases.Create(b.ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "meshca-rotation", Namespace: "istio-system"},
					Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &at, AcquireTime: &at, LeaseDurationSeconds: &seconds}}, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				s, err := b.collector().Collect(b.ctx)
				if err != nil {
					t.Fatal(err)
				}
				s.Gaps = nil
				s.TakenAt, s.ClockSkew = s.TakenAt.Add(row.skew), mesh.Duration(row.skew)
				if err := b.engine.Run(b.ctx, rotation.NewPlan(s, b.config), nil); errors.Is(err, rotation.ErrHeld) == row.taken {
					t.Errorf("it ends with %v", err)
				}
				lease, err := leases.Get(b.ctx, "meshca-rotation", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if off := time.Since(lease.Spec.RenewTime.Time); row.taken && off.Abs() > time.Minute {
					t.Errorf("it is renewed %s off the cluster's clock", off)
				}
			})
		})
	}
}
