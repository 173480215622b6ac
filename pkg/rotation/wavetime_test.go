package rotation_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	appsv1 "k8s.io/api/apps/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// What the waves take is no wait for a gate: restarts that are slower than --timeout do
// not have the next gate given up at its first look.
func TestWavesAreNoWaitForAGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, mixed)
		b.config.Strategy, b.config.Reason, b.engine.Timeout = rotation.BundleByRestart, rotation.Compromised, time.Minute
		b.deployment(func(d *appsv1.Deployment) {
			one := intstr.FromInt32(1)
			d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxUnavailable: &one}
		})
		budgets := b.mesh.Kube.PolicyV1().PodDisruptionBudgets("b")
		budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: "all"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{}},
			Status: policyv1.PodDisruptionBudgetStatus{ExpectedPods: 4, DesiredHealthy: 3, CurrentHealthy: 3}}
		if _, err := budgets.Create(b.ctx, budget, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		spared := false
		b.engine.Emit = func(e rotation.Event) {
			b.events = append(b.events, e)
			if e.Kind == rotation.EventWorkload && strings.Contains(e.Message, "waiting") && !spared {
				spared = true
				time.AfterFunc(5*time.Minute, func() {
					budget.Status.CurrentHealthy, budget.Status.DisruptionsAllowed = 4, 1
					if _, err := budgets.Update(b.ctx, budget, metav1.UpdateOptions{}); err != nil {
						t.Error(err)
					}
				})
			}
		}
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		if !spared {
			t.Error("no wave has waited")
		}
		b.whole()
		b.ended()
	})
}

// A pause holds between two restarts of a wave too: what was begun goes on by itself, and
// nothing more is begun, nor given up, until it is resumed.
func TestPauseHoldsWaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *rehearsal.Spec) {
			mixed(s)
			s.Workloads = append(s.Workloads, rehearsal.Workload{Namespace: "b", Name: "second", Proxies: 2, Cold: true})
		})
		orders := make(chan rotation.Command, 1)
		b.config.Strategy, b.config.Reason, b.engine.Timeout = rotation.BundleByRestart, rotation.Compromised, 10*time.Minute
		b.engine.Commands, b.engine.AtOnce, b.engine.Until = orders, 1, rotation.TrustNew
		var held, resumed time.Time
		b.engine.Emit = func(e rotation.Event) {
			b.events = append(b.events, e)
			switch {
			case e.Kind != rotation.EventWorkload:
			case held.IsZero():
				held = time.Now()
				orders <- rotation.Command{Kind: rotation.CommandPause}
				time.AfterFunc(time.Hour, func() {
					resumed = time.Now()
					orders <- rotation.Command{Kind: rotation.CommandResume}
				})
			case strings.Contains(e.Message, "marked") && resumed.IsZero():
				t.Errorf("it is paused, and %s", e.Message)
			}
		}
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		if resumed.IsZero() || b.count(rotation.EventWorkload, "restarted") != 2 {
			t.Errorf("held at %s, resumed at %s: %v", held, resumed, b.events)
		}
		b.whole()
	})
}
