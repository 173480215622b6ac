package rehearsal

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

// lockVersions gives the fake API server what it lacks of a real one: optimistic
// locking, a Secret's type and immutable objects that stay, tokens; and it tells
// the mesh of what was written.
func (m *Mesh) lockVersions() {
	m.Kube.PrependReactor("update", "*", func(action k8stesting.Action) (bool, runtime.Object, error) {
		update := action.(k8stesting.UpdateAction)
		if action.GetSubresource() != "" {
			return false, nil, nil
		}
		object, err := meta.Accessor(update.GetObject())
		if err != nil {
			return true, nil, err
		}
		there, err := m.Kube.Tracker().Get(action.GetResource(), action.GetNamespace(), object.GetName())
		if err != nil {
			return true, nil, err
		}
		before, err := meta.Accessor(there)
		if err != nil {
			return true, nil, err
		}
		if v := object.GetResourceVersion(); v != "" && v != before.GetResourceVersion() {
			return true, nil, apierrors.NewConflict(action.GetResource().GroupResource(), object.GetName(), fmt.Errorf("version %s is not %s", v, before.GetResourceVersion()))
		}
		object.SetResourceVersion(versionOf(before.GetResourceVersion()))
		if secret, ok := update.GetObject().(*corev1.Secret); ok {
			old := there.(*corev1.Secret)
			if old.Type != secret.Type || old.Immutable != nil && *old.Immutable {
				return true, nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Secret").GroupKind(), secret.Name, nil)
			}
			if secret.Name == "cacerts" && !same(old, secret) {
				m.follow(secret.DeepCopy())
			}
		}
		return false, nil, nil
	})
	m.Kube.PrependReactor("patch", "deployments", func(action k8stesting.Action) (bool, runtime.Object, error) {
		patch := action.(k8stesting.PatchAction)
		if strings.Contains(string(patch.GetPatch()), "restartedAt") {
			m.after(0, m.restart)
		}
		return false, nil, nil
	})
	m.Kube.PrependReactor("create", "serviceaccounts", func(action k8stesting.Action) (bool, runtime.Object, error) {
		if action.GetSubresource() != "token" {
			return false, nil, nil
		}
		return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{Token: "rehearsed"}}, nil
	})
}

func same(a, b *corev1.Secret) bool {
	if len(a.Data) != len(b.Data) {
		return false
	}
	for name, value := range a.Data {
		if !bytes.Equal(value, b.Data[name]) {
			return false
		}
	}
	return true
}

// restart replaces every istiod by one that reads the Secret anew, one at a time,
// the new before the old.
func (m *Mesh) restart() {
	deployments := m.Kube.Tracker()
	resource := appsv1.SchemeGroupVersion.WithResource("deployments")
	object, err := deployments.Get(resource, istioNamespace, "istiod")
	if err != nil {
		return
	}
	d := object.(*appsv1.Deployment).DeepCopy()
	d.Status.UpdatedReplicas = 0
	_ = deployments.Update(resource, d, istioNamespace)
	old := append([]*istiod(nil), m.istiods...)
	for n, i := range old {
		m.after(m.spec.Lag*2+m.spec.Lag*2*time.Duration(n), func() {
			if m.startIstiod() == nil {
				m.stopIstiod(i)
			}
			if n == len(old)-1 {
				done := d.DeepCopy()
				done.Status.UpdatedReplicas = *done.Spec.Replicas
				_ = deployments.Update(resource, done, istioNamespace)
			}
			m.unjudged = true
		})
	}
}
