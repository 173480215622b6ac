package rotation_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8stesting "k8s.io/client-go/testing"
)

// A rotation of a self-signed mesh whose first write was denied is ended by the way back,
// which has nothing to write, and retired; then another begins.
func TestDeniedFirstWriteIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, _ := ca(t, "S")
		b := newBench(t, func(s *rehearsal.Spec) { brief(s); s.Source, s.CA = mesh.CASelfSigned, self })
		b.oldRoot, b.old = self, self
		b.config.Strategy, b.engine.Timeout = rotation.BundleByRenewal, 24*time.Hour
		denied := true
		b.mesh.Kube.PrependReactor("create", "secrets", func(a k8stesting.Action) (bool, runtime.Object, error) {
			if s, ok := a.(k8stesting.CreateAction).GetObject().(*corev1.Secret); ok && s.Name == "cacerts" && denied {
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "cacerts", errors.New("denied by policy"))
			}
			return false, nil, nil
		})
		if err := b.run(); !apierrors.IsForbidden(err) {
			t.Fatalf("it ends with %v", err)
		}
		b.engine.Back, b.config.Back = true, true
		if err := b.run(); err != nil {
			t.Fatalf("back, it ends with %v", err)
		}
		if last := b.events[len(b.events)-1]; last.Kind != rotation.EventRolledBack {
			t.Errorf("the last event is %s: %s", last.Kind, last.Message)
		}
		if b.events[len(b.events)-2].Kind == rotation.EventPassed && b.events[len(b.events)-2].Gate.Proxies.Ready == 0 {
			t.Error("it is rolled back, and no proxy proves that")
		}
		journal := b.kept()
		if !journal.Over() {
			t.Errorf("it has ended, and is in phase %s", journal.Phase)
		}
		if err := rotation.Retire(b.ctx, b.mesh.Kube, "test", time.Now, "istio-system", journal.ID); err != nil {
			t.Fatalf("it is not retired: %v", err)
		}
		if err := b.run(); !errors.Is(err, rotation.ErrNothing) {
			t.Errorf("once retired, a way back ends with %v", err)
		}
		denied, b.engine.Back, b.config.Back = false, false, false
		_, b.new = ca(t, "C")
		b.config.New = b.new
		if err := b.run(); err != nil {
			t.Fatalf("another ends with %v", err)
		}
		b.whole()
		b.ended()
		made, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Get(b.ctx, "cacerts", metav1.GetOptions{})
		if err != nil || made.Labels["app.kubernetes.io/managed-by"] != mesh.ManagedBy {
			t.Errorf("cacerts does not say who made it: %v", err)
		}
	})
}

// Where the mesh is not as it was, the way back is not at its end because the CA Secret is
// not there; nor is that made again, for no istiod may be asked what it held.
func TestNothingWrittenIsNoProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, _ := ca(t, "S")
		b := newBench(t, func(s *rehearsal.Spec) { brief(s); s.Source, s.CA = mesh.CASelfSigned, self })
		b.oldRoot, b.old = self, self
		b.config.Strategy, b.engine.Timeout, b.engine.Until = rotation.BundleByRenewal, 24*time.Hour, rotation.SignNew
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		if err := b.mesh.Kube.CoreV1().Secrets("istio-system").Delete(b.ctx, "cacerts", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		b.engine.Back, b.config.Back, b.engine.Until = true, true, ""
		b.config.CSRProof, b.prober.CSR = false, false
		err := b.run()
		var gate *rotation.GateError
		if !errors.As(err, &gate) {
			t.Errorf("it ends with %v", err)
		}
		if journal := b.kept(); journal.Over() {
			t.Errorf("it counts as ended: %s", journal.Phase)
		}
	})
}
