package scenario_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// onNode has a pod run on a node of its own, whose kubelet is as given.
func (b *bench) onNode(pod, node string, ready corev1.ConditionStatus, heard time.Time) {
	b.t.Helper()
	namespace, name, _ := strings.Cut(pod, "/")
	p, err := b.mesh.Kube.CoreV1().Pods(namespace).Get(b.ctx, name, metav1.GetOptions{})
	b.must(err)
	p.Spec.NodeName = node
	_, err = b.mesh.Kube.CoreV1().Pods(namespace).Update(b.ctx, p, metav1.UpdateOptions{})
	b.must(err)
	if ready == "" {
		return // there is no such node
	}
	_, err = b.mesh.Kube.CoreV1().Nodes().Create(b.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}, Status: corev1.NodeStatus{
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: metav1.NewTime(heard), LastTransitionTime: metav1.NewTime(heard)}}}}, metav1.CreateOptions{})
	b.must(err)
}

func (b *bench) ready(node string, ready corev1.ConditionStatus) {
	b.t.Helper()
	n, err := b.mesh.Kube.CoreV1().Nodes().Get(b.ctx, node, metav1.GetOptions{})
	b.must(err)
	n.Status.Conditions[0].Status, n.Status.Conditions[0].LastTransitionTime = ready, metav1.Now()
	_, err = b.mesh.Kube.CoreV1().Nodes().Update(b.ctx, n, metav1.UpdateOptions{})
	b.must(err)
}

func silentRows() []row {
	silent := func(node string, ready corev1.ConditionStatus) func(*bench) {
		return func(b *bench) { b.onNode("b/app-1", node, ready, time.Now().Add(-time.Hour)) }
	}
	return []row{
		{name: "node-not-ready", spoil: silent("down", corev1.ConditionFalse), closed: rotation.Prepare, blocker: "proxy b/app-1: node down: its kubelet is not ready since", finds: []string{"node-not-ready"}},
		{name: "node-unknown", spoil: silent("away", corev1.ConditionUnknown), closed: rotation.Prepare, blocker: "proxy b/app-1: node away"},
		{name: "no-such-node", spoil: silent("gone", ""), closed: rotation.Prepare, blocker: "proxy b/app-1: node gone: there is no such node"},
		{name: "node-back-in-time", spoil: func(b *bench) {
			b.onNode("b/app-1", "late", corev1.ConditionFalse, time.Now())
			time.AfterFunc(10*time.Second, func() { b.ready("late", corev1.ConditionTrue) })
		}, strategy: rotation.HotBundle},
		{name: "kubelet-stopped-for-a-minute", spoil: func(b *bench) {
			b.onNode("b/app-1", "late", corev1.ConditionTrue, time.Now())
			stopped := time.Time{}
			b.trial.Emit = func(e rotation.Event) {
				switch {
				case e.Kind == rotation.EventWrite && e.Phase == rotation.TrustNew && stopped.IsZero():
					stopped = e.Time
					b.ready("late", corev1.ConditionUnknown)
					time.AfterFunc(time.Minute, func() { b.ready("late", corev1.ConditionTrue) })
				case e.Kind == rotation.EventPassed && e.Phase == rotation.TrustNew && e.Time.Sub(stopped) < time.Minute:
					b.t.Errorf("trust-new is called proven while a node says nothing: %s", e.Message)
				}
			}
		}, strategy: rotation.HotBundle},
	}
}

// B: a pod on a node that says nothing closes the gate by name: whether it follows is
// unknown.
func TestSilentNodes(t *testing.T) {
	for _, r := range silentRows() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { play(t, r, nil) })
		})
	}
}

// B: accepted by name it goes on, and waits out what that pod may still present.
func TestSilentNodeAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.onNode("b/app-1", "down", corev1.ConditionFalse, time.Now())
		b.trial.Accept = map[string]string{"b/app-1": "it is drained"}
		began := time.Now()
		out := b.trial.Run(b.ctx)
		if out.Err != nil || !out.Proof.Open() || len(out.Proof.Accepted) == 0 {
			t.Fatalf("it ends with %v, %v", out.Err, out.Proof.Blockers)
		}
		if took := time.Since(began); took < ttl {
			t.Errorf("the old root went after %s, though a leaf may live for %s", took, ttl)
		}
	})
}

// B: a snapshot whose nodes say nothing is no proof, and one whose heartbeats are late
// only by the reader's own clock is.
func TestSilentBySnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s, err := b.trial.Look(b.ctx)
		b.must(err)
		s.Gaps = nil
		expect, _ := rotation.Present(s)
		for _, row := range []struct {
			name   string
			change func()
			open   bool
		}{
			{"as it is", func() {}, true},
			{"heard an hour ago", func() { s.Nodes[0].LastReady = s.TakenAt.Add(-time.Hour) }, false},
			{"by a clock that is ahead", func() {
				s.Nodes[0].LastReady = s.TakenAt
				s.ClockSkew, s.TakenAt = mesh.Duration(time.Hour), s.TakenAt.Add(time.Hour)
			}, true},
			{"not ready", func() { s.Nodes[0].Ready = false }, false},
			{"nodes nobody may see", func() {
				s.Nodes, s.Gaps = nil, []mesh.Gap{{Part: "nodes", Resource: "nodes", Verb: "list", Error: "forbidden"}}
			}, true},
			{"nodes that were not answered", func() { s.Gaps[0].Verb, s.Gaps[0].Error = "", "connection refused" }, false},
		} {
			row.change()
			if status := expect.Judge(s, nil); status.Open() != row.open {
				t.Errorf("%s: open %v, %v", row.name, status.Open(), status.Blockers)
			}
		}
	})
}
