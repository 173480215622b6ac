package rotation_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// In containers every run is process 1 of root, and host names are often given: two such
// runs have one name, and the Lease keeps them apart all the same.
func TestNamesakesAreTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, small)
		b.mesh.Hold(0) // the first waits for it
		b.engine.Holder, b.engine.Timeout = "root@ci/1", 5*time.Minute
		first := make(chan error)
		go func() { first <- b.run() }()
		time.Sleep(5 * time.Second)
		second := *b.engine
		second.Back = true
		second.Emit = func(e rotation.Event) {
			if e.Kind == rotation.EventWrite || e.Kind == rotation.EventNudge {
				t.Errorf("the second writes: %s", e.Message)
			}
		}
		s, err := b.collector().Collect(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Gaps = nil
		staged, err := rotation.FindStaged(b.ctx, b.mesh.Kube, "istio-system")
		if err != nil || staged == nil {
			t.Fatal(err, staged)
		}
		config := b.config
		config.Back = true
		began := time.Now()
		if err := second.Run(b.ctx, rotation.NewPlan(s, config.Resume(s, staged)), staged); !errors.Is(err, rotation.ErrHeld) {
			t.Errorf("the second ends with %v", err)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("it is told after %s", took)
		}
		if err := <-first; !errors.Is(err, rotation.ErrClosed) {
			t.Errorf("the first ends with %v", err)
		}
	})
}

// A container that was killed and is started again has the name of the one of before: its
// run goes on by itself once nothing more is heard of that one, and at once where it is the
// same process, or somebody knows that it is dead.
func TestNamesakeOfTheKilled(t *testing.T) {
	for name, row := range map[string]struct {
		process string // of the Lease
		mine    string
		dead    string
		most    time.Duration
	}{
		"killed":               {process: "before", mine: "now", most: 70 * time.Second},
		"of an older release":  {mine: "now", most: 70 * time.Second},
		"the same process":     {process: "now", mine: "now", most: 10 * time.Second},
		"killed, and known so": {process: "before", mine: "now", dead: "root@ci/1", most: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, small)
				b.engine.Holder, b.engine.Process, b.engine.Dead, b.engine.Until = "root@ci/1", row.mine, row.dead, rotation.Prepare
				holder, at, seconds := "root@ci/1", metav1.NewMicroTime(time.Now()), int32(60)
				lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "meshca-rotation", Namespace: "istio-system"},
					Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &at, AcquireTime: &at, LeaseDurationSeconds: &seconds}}
				if row.process != "" {
					lease.Annotations = map[string]string{"meshca.io/process": row.process}
				}
				if _, err := b.mesh.Kube.CoordinationV1().Leases("istio-system").Create(b.ctx, lease, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if err := b.run(); err != nil {
					t.Fatalf("it ends with %v", err)
				}
				took := time.Since(began)
				if took > row.most {
					t.Errorf("it is kept off for %s", took)
				}
				if waits := row.most > time.Minute; waits && (took < 50*time.Second || !b.said(rotation.EventWait, "of the same name")) {
					t.Errorf("it goes on after %s, without a word of why it waited", took)
				}
			})
		})
	}
}
