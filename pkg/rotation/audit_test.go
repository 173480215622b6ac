package rotation_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

// trail runs a rotation with an audit and returns its Kubernetes Events.
func trail(t *testing.T, b *bench) []corev1.Event {
	t.Helper()
	audit := &rotation.Audit{Kube: b.mesh.Kube, Holder: b.engine.Holder, Warn: b.engine.Emit}
	b.engine.Emit = audit.Then(b.engine.Emit)
	if err := b.run(); err != nil {
		t.Fatal(err)
	}
	list, err := b.mesh.Kube.CoreV1().Events("istio-system").List(b.ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// A rotation leaves its trail: one Event for its beginning, each write, each open
// gate and its end, about the CA Secret, with fingerprints and without a key.
func TestAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.engine.Accept = map[string]string{"b/app-1": "its node is being replaced"}
		b.mesh.Freeze("b/app-1")
		count := map[string]int{}
		for _, e := range trail(t, b) {
			count[e.Reason]++
			if e.InvolvedObject.Kind != "Secret" || e.InvolvedObject.Name != "cacerts" || e.InvolvedObject.Namespace != e.Namespace || len(e.Message) > 1024 || e.ReportingInstance != "test" {
				t.Errorf("%+v", e)
			}
			if strings.Contains(e.Message, "PRIVATE") || strings.ContainsAny(e.Message, "\n\x1b") {
				t.Errorf("event %s: %q", e.Reason, e.Message)
			}
			if e.Reason == "RotationBegins" && (!strings.Contains(e.Message, b.old.Roots.Certs[0].Fingerprint().Short()) || !strings.Contains(e.Message, b.new.Roots.Certs[0].Fingerprint().Short())) {
				t.Errorf("no fingerprints: %q", e.Message)
			}
			if e.Reason == "RotationAccepts" && !strings.Contains(e.Message, "b/app-1") {
				t.Errorf("no name: %q", e.Message)
			}
		}
		gates := 0
		for _, e := range b.events {
			if e.Kind == rotation.EventPassed {
				gates++
			}
		}
		for reason, want := range map[string]int{"RotationBegins": 1, "RotationDone": 1, "RotationGatePassed": gates} {
			if count[reason] != want {
				t.Errorf("%d of %s, want %d: %v", count[reason], reason, want, count)
			}
		}
		if count["RotationWrites"] < 5 || count["RotationAccepts"] < 1 {
			t.Errorf("%v", count)
		}
	})
}

// Without the permission there is one warning, and the rotation ends as it would.
func TestAuditForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		asked := 0
		b.mesh.Kube.PrependReactor("create", "events", func(k8stesting.Action) (bool, runtime.Object, error) {
			asked++
			return true, nil, apierrors.NewForbidden(corev1.Resource("events"), "", nil)
		})
		if left := trail(t, b); len(left) != 0 || asked != 1 {
			t.Errorf("%d events, asked %d times", len(left), asked)
		}
		warnings := 0
		for _, e := range b.events {
			if e.Kind == rotation.EventWarning && e.Object == "events" {
				warnings++
			}
		}
		if warnings != 1 {
			t.Errorf("%d warnings", warnings)
		}
		b.ended()
	})
}

// A failure before anything was begun is one Event, and text of the cluster cannot
// reach a terminal.
func TestAuditFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		a := &rotation.Audit{Kube: b.mesh.Kube, Holder: ""}
		a.Note(rotation.Event{Time: time.Now(), Kind: rotation.EventPlan, Plan: &rotation.Plan{ID: "x", Namespace: "istio-system", Secret: "cacerts"}})
		a.Note(rotation.Event{Time: time.Now(), Kind: rotation.EventFailed, Message: "held by \x1b[2Jann" + strings.Repeat("é", 900)})
		list, err := b.mesh.Kube.CoreV1().Events("istio-system").List(b.ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%d events: %v", len(list.Items), err)
		}
		e := list.Items[0]
		if e.Reason != "RotationFailed" || e.Type != corev1.EventTypeWarning || e.ReportingInstance == "" || len(e.Message) > 1024 || strings.Contains(e.Message, "\x1b") {
			t.Errorf("%+v", e)
		}
	})
}

// On the way back the trail ends with the old root, and Stand counts that way's own
// writes.
func TestAuditWayBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.engine.Until = rotation.SignNew
		trail(t, b)
		stand := func(back bool) rotation.Standing {
			s, staged := b.look(), b.staged()
			s.Gaps = nil
			rotation.Rewind(s, staged)
			config := b.config
			config.New, config.Cross, config.Strategy = staged.New, staged.Cross, staged.Strategy
			at, err := rotation.NewPlan(s, config).Stand(b.ctx, b.mesh.Kube, staged, back)
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		if at := stand(false); at.Written != 3 || at.Of != 4 || at.Step.Phase != rotation.SignNew || at.Back[len(at.Back)-1] != rotation.Prepare {
			t.Errorf("%+v", at)
		}
		b.engine.Until, b.engine.Back = "", true
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		list, err := b.mesh.Kube.CoreV1().Events("istio-system").List(b.ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, e := range list.Items {
			found = found || e.Reason == "RotationRolledBack" && strings.Contains(e.Message, b.old.Roots.Certs[0].Fingerprint().String())
		}
		if !found {
			t.Errorf("no event of the way back among %d", len(list.Items))
		}
		if at := stand(true); at.Written != at.Of || at.Of == 0 || at.Step != nil && at.Step.Phase != rotation.Prepare {
			t.Errorf("rolled back: %+v", at)
		}
		journals, err := rotation.Journals(b.ctx, b.mesh.Kube, "istio-system")
		if err != nil || len(journals) != 1 || journals[0].Phase != rotation.RolledBack || !journals[0].Back || journals[0].Figures == nil {
			t.Errorf("%+v, %v", journals, err)
		}
	})
}

func (b *bench) staged() *rotation.Staged {
	b.t.Helper()
	staged, err := rotation.FindStaged(b.ctx, b.mesh.Kube, "istio-system")
	if err != nil || staged == nil {
		b.t.Fatal(staged, err)
	}
	return staged
}
