package rotation_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (b *bench) deployment(change func(*appsv1.Deployment)) {
	b.t.Helper()
	deployments := b.mesh.Kube.AppsV1().Deployments("b")
	d, err := deployments.Get(b.ctx, "other", metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	change(d)
	if _, err := deployments.Update(b.ctx, d, metav1.UpdateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) count(kind rotation.EventKind, text string) (n int) {
	for _, e := range b.events {
		if e.Kind == kind && strings.Contains(e.Message, text) {
			n++
		}
	}
	return n
}

// B: a workload that could not be restarted at first, because it was paused, is
// restarted once that is over: the gate needs no second run for it.
func TestWavesTakeThoseThatCouldNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, mixed)
		b.config.Strategy, b.config.Reason, b.engine.Timeout = rotation.BundleByRestart, rotation.Compromised, time.Hour
		b.deployment(func(d *appsv1.Deployment) { d.Spec.Paused = true })
		resumed := false
		b.engine.Emit = func(e rotation.Event) {
			b.events = append(b.events, e)
			if e.Kind == rotation.EventWarning && strings.Contains(e.Message, "is not restarted") && !resumed {
				resumed = true
				time.AfterFunc(3*time.Minute, func() { b.deployment(func(d *appsv1.Deployment) { d.Spec.Paused = false }) })
			}
		}
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		if !resumed {
			t.Error("nobody is told that it is not restarted")
		}
		if n := b.count(rotation.EventWarning, "is not restarted"); n > 2 {
			t.Errorf("that is said %d times", n)
		}
		b.whole()
		b.ended()
	})
}

// B: one that lags whatever is done to it is restarted a few times, named, and not
// restarted for ever.
func TestWavesDoNotLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *rehearsal.Spec) { mixed(s); s.Workloads[0].TTL = 24 * time.Hour })
		b.config.Strategy, b.engine.Timeout = rotation.BundleByRestart, 2*time.Hour
		// Its template says that it was restarted, and its pods are the old ones still.
		b.deployment(func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)}
		})
		err := b.run()
		var gate *rotation.GateError
		if !errors.As(err, &gate) || !gate.TimedOut || !strings.Contains(err.Error(), "b/other") {
			t.Fatalf("it ends with %v", err)
		}
		if n := b.count(rotation.EventWorkload, "restarted"); n != 2 {
			t.Errorf("it is restarted %d times", n)
		}
		if n := b.count(rotation.EventWarning, "2 times for this step"); n != 1 {
			t.Errorf("that it is given up is said %d times", n)
		}
		b.whole()
	})
}
