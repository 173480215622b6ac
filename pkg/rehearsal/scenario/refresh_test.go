package scenario_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func forbidden(resource string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no"))
}

// An API server that is away right behind a write: kubelet is asked once more for
// istiod's files as soon as it answers, and meanwhile it is said what is waited for.
func TestRefreshIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(_ *bench, s *rehearsal.Spec) { s.Lag = 30 * time.Second })
		b.mesh.Inject(rehearsal.Fault{Verb: "patch", Resource: "pods", Times: 2, Err: apierrors.NewServiceUnavailable("etcd has no leader")})
		b.trial.Until = rotation.TrustNew
		refreshed, waits := -1, 0
		b.trial.Emit = func(e rotation.Event) {
			switch {
			case refreshed >= 0:
			case e.Kind == rotation.EventWait && strings.Contains(e.Message, "kubelet"):
				waits++
			case e.Kind == rotation.EventNudge || e.Kind == rotation.EventPassed && e.Phase == rotation.TrustNew:
				pods, err := b.mesh.Kube.CoreV1().Pods("istio-system").List(b.ctx, metav1.ListOptions{LabelSelector: "app=istiod"})
				b.must(err)
				refreshed = 0
				for _, pod := range pods.Items {
					if pod.Annotations["meshca.io/refreshed-at"] != "" {
						refreshed++
					}
				}
			}
		}
		out := b.trial.Run(b.ctx)
		b.must(out.Err)
		if refreshed != 2 || waits != 1 {
			t.Errorf("%d of 2 istiods were asked to refresh, %d times it was said what is waited for", refreshed, waits)
		}
	})
}

// Where nobody may annotate pods nothing is tried again: the files come by themselves.
func TestRefreshThatIsForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.mesh.Inject(rehearsal.Fault{Verb: "patch", Resource: "pods", Times: -1, Err: forbidden("pods")})
		out := b.trial.Run(b.ctx)
		b.must(out.Err)
		writes, patches := 0, 0
		for _, e := range out.Events {
			if e.Kind == rotation.EventWrite && strings.Contains(e.Object, "cacerts") {
				writes++
			}
			if e.Kind == rotation.EventWarning && strings.Contains(e.Message, "kubelet") {
				patches++
			}
		}
		if patches == 0 || patches > writes || slices.ContainsFunc(out.Events, func(e rotation.Event) bool {
			return e.Kind == rotation.EventWait && strings.Contains(e.Message, "kubelet")
		}) {
			t.Errorf("%d warnings for %d writes", patches, writes)
		}
	})
}

// Nodes that could be listed when it was planned, and may not be any more: which proxies
// are on a silent one is not known, and the gate says so.
func TestNodesThatMayNoLongerBeListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.trial.Timeout = 5 * time.Minute
		b.trial.Emit = func(e rotation.Event) {
			if e.Kind == rotation.EventPassed && e.Step == "start" {
				b.mesh.Inject(rehearsal.Fault{Verb: "list", Resource: "nodes", Times: -1, Err: apierrors.NewUnauthorized("the token has expired")})
			}
		}
		out := b.trial.Run(b.ctx)
		if out.Err == nil || !strings.Contains(out.Err.Error(), "reading nodes") {
			t.Errorf("it ends with %v", out.Err)
		}
		b.mesh.Mend()
		b.trial.Emit = nil
		b.must(b.trial.Run(b.ctx).Err)
	})
}

// Where they may not be from the start the plan says so, and they are in nobody's way.
func TestNodesThatMayNotBeListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.mesh.Inject(rehearsal.Fault{Verb: "list", Resource: "nodes", Times: -1, Err: forbidden("nodes")})
		out := b.trial.Run(b.ctx)
		b.must(out.Err)
		if !slices.ContainsFunc(out.Plan.Warnings, func(r rotation.Refusal) bool { return r.ID == "nodes-unread" }) {
			t.Errorf("the plan warns of %v", out.Plan.Warnings)
		}
	})
}
