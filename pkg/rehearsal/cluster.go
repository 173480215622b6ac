package rehearsal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	k8stesting "k8s.io/client-go/testing"
)

// serve gives the fake API server what it lacks of a real one: optimistic locking,
// a Secret's type and immutable objects that stay, tokens, evictions, faults; and it
// tells the mesh of what was written. The mesh itself writes to the store behind it,
// so that faults meet only whoever comes from outside.
func (m *Mesh) serve() {
	m.Kube.PrependReactor("*", "*", func(action k8stesting.Action) (bool, runtime.Object, error) {
		m.clock.Now() // somebody is at work
		fault := m.faults.meets(action.GetVerb(), action.GetResource().Resource)
		if fault != nil && !fault.Lost {
			return true, nil, fault.Err
		}
		handled, object, err := m.react(action)
		if fault != nil && err == nil {
			if !handled {
				_, _, err = k8stesting.ObjectReaction(m.Kube.Tracker())(action)
			}
			return true, nil, errors.Join(fault.Err, err)
		}
		return handled, object, err
	})
	m.Kube.PrependWatchReactor("*", m.watched)
}

// watched has a watch from outside meet faults too.
func (m *Mesh) watched(action k8stesting.Action) (bool, watch.Interface, error) {
	fault := m.faults.meets(action.GetVerb(), action.GetResource().Resource)
	switch {
	case fault == nil:
		return false, nil, nil
	case fault.Lost:
		return true, watch.NewEmptyWatch(), nil
	}
	return true, nil, fault.Err
}

func (m *Mesh) react(action k8stesting.Action) (bool, runtime.Object, error) {
	switch action.GetVerb() + " " + action.GetResource().Resource {
	case "create serviceaccounts":
		if action.GetSubresource() == "token" {
			return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{Token: m.token()}}, nil
		}
	case "delete serviceaccounts":
		m.accounts.Add(1)
	case "create pods":
		if action.GetSubresource() == "eviction" {
			object, err := meta.Accessor(action.(k8stesting.CreateAction).GetObject())
			if err != nil {
				return true, nil, err
			}
			ref := action.GetNamespace() + "/" + object.GetName()
			m.after(0, func() { m.recreate(ref) })
			return true, nil, nil
		}
	case "list nodes":
		return m.nodes(action)
	case "delete pods":
		ref := action.GetNamespace() + "/" + action.(k8stesting.DeleteAction).GetName()
		m.after(0, func() { m.recreate(ref) })
	}
	switch action.GetVerb() {
	case "update":
		if action.GetSubresource() == "" {
			return m.lock(action.(k8stesting.UpdateAction))
		}
	case "create":
		if object, err := meta.Accessor(action.(k8stesting.CreateAction).GetObject()); err == nil && action.GetSubresource() == "" {
			if secret, ok := object.(*corev1.Secret); ok && secret.Name == pluggedSecret {
				m.follow(secret.DeepCopy())
			}
			if object.GetUID() == "" {
				object.SetUID(uid(action.GetResource().Resource, action.GetNamespace(), object.GetName()))
			}
			object.SetResourceVersion("1")
		}
	case "patch":
		return m.patch(action.(k8stesting.PatchAction))
	}
	return false, nil, nil
}

// token is one of a ServiceAccount, good until that is removed: it is bound to its UID
// (kubernetes pkg/serviceaccount/claims.go).
func (m *Mesh) token() string { return fmt.Sprintf("rehearsed-%d", m.accounts.Load()) }

// nodes are as they are kept; the kubelets of those that are ready have reported this
// moment.
func (m *Mesh) nodes(list k8stesting.Action) (bool, runtime.Object, error) {
	_, object, err := k8stesting.ObjectReaction(m.Kube.Tracker())(list)
	if nodes, ok := object.(*corev1.NodeList); ok && err == nil {
		for i := range nodes.Items {
			for c := range nodes.Items[i].Status.Conditions {
				if condition := &nodes.Items[i].Status.Conditions[c]; condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
					condition.LastHeartbeatTime = metav1.NewTime(m.clock.Now())
				}
			}
		}
	}
	return true, object, err
}

// lock takes an update only at the version that was read.
func (m *Mesh) lock(update k8stesting.UpdateAction) (bool, runtime.Object, error) {
	object, err := meta.Accessor(update.GetObject())
	if err != nil {
		return true, nil, err
	}
	there, err := m.Kube.Tracker().Get(update.GetResource(), update.GetNamespace(), object.GetName())
	if err != nil {
		return true, nil, err
	}
	before, err := meta.Accessor(there)
	if err != nil {
		return true, nil, err
	}
	if v := object.GetResourceVersion(); v != "" && v != before.GetResourceVersion() {
		return true, nil, apierrors.NewConflict(update.GetResource().GroupResource(), object.GetName(), fmt.Errorf("version %s is not %s", v, before.GetResourceVersion()))
	}
	switch now := update.GetObject().(type) {
	case *corev1.Secret:
		old := there.(*corev1.Secret)
		if old.Type != now.Type || yes(old.Immutable) {
			return true, nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Secret").GroupKind(), now.Name, nil)
		}
	case *corev1.ConfigMap:
		if old := there.(*corev1.ConfigMap); yes(old.Immutable) && !maps.Equal(old.Data, now.Data) {
			return true, nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("ConfigMap").GroupKind(), now.Name, nil)
		}
	}
	if dry(update) {
		return true, update.GetObject(), nil
	}
	object.SetResourceVersion(versionOf(before.GetResourceVersion()))
	if now, ok := update.GetObject().(*corev1.Secret); ok && now.Name == pluggedSecret && !same(there.(*corev1.Secret), now) {
		m.follow(now.DeepCopy())
	}
	return false, nil, nil
}

func dry(update k8stesting.UpdateAction) bool {
	with, ok := update.(interface{ GetUpdateOptions() metav1.UpdateOptions })
	return ok && len(with.GetUpdateOptions().DryRun) > 0
}

// patch counts an object's change, and rolls the controller that it restarts.
func (m *Mesh) patch(patch k8stesting.PatchAction) (bool, runtime.Object, error) {
	_, object, err := k8stesting.ObjectReaction(m.Kube.Tracker())(patch)
	if err != nil {
		return true, nil, err
	}
	accessor, err := meta.Accessor(object)
	if err != nil {
		return true, nil, err
	}
	accessor.SetResourceVersion(versionOf(accessor.GetResourceVersion()))
	restarts := strings.Contains(string(patch.GetPatch()), "restartedAt")
	if restarts {
		accessor.SetGeneration(accessor.GetGeneration() + 1)
	}
	if err := m.Kube.Tracker().Update(patch.GetResource(), object, patch.GetNamespace()); err != nil {
		return true, nil, err
	}
	if restarts {
		namespace, name := patch.GetNamespace(), patch.GetName()
		m.after(0, func() { m.roll(namespace, name) })
	}
	return true, object, nil
}

func yes(b *bool) bool { return b != nil && *b }

func same(a, b *corev1.Secret) bool { return maps.EqualFunc(a.Data, b.Data, bytes.Equal) }

// roll replaces the pods of a controller, one at a time, the new before the old.
func (m *Mesh) roll(namespace, name string) {
	if m.citadel != nil && namespace == istioNamespace && name == citadelDeployment {
		m.citadel.roll()
		return
	}
	for _, p := range m.planes {
		if namespace == istioNamespace && p.deployment == name {
			m.rollIstiods(p)
			return
		}
	}
	old := m.pods(namespace, name)
	m.rolling(namespace, name, 0, len(old))
	for n, p := range old {
		m.after(startup*time.Duration(n+1), func() {
			m.recreate(p.ref())
			m.rolling(namespace, name, n+1, len(old))
		})
	}
	if len(old) == 0 {
		m.rolling(namespace, name, 0, 0)
	}
}

// startup is how long a new pod takes to be ready.
const startup = 2 * time.Second

// rollIstiods replaces every replica. A rollout that begins takes over from the one before,
// whose pods are old to it, as the Deployment controller has it: both at once would leave
// a replica more for each that both replace.
func (m *Mesh) rollIstiods(p *plane) {
	p.rollouts++
	old, mine := m.replicas(p), p.rollouts
	m.rolling(istioNamespace, p.deployment, 0, len(old))
	for n, i := range old {
		m.after(m.spec.Lag*2+m.spec.Lag*2*time.Duration(n), func() {
			if p.rollouts != mine {
				return
			}
			if m.startIstiod(p) == nil {
				m.stopIstiod(i)
			}
			m.rolling(istioNamespace, p.deployment, n+1, len(old))
			m.change()
		})
	}
}

// rolling writes how far a controller's rollout has come.
func (m *Mesh) rolling(namespace, name string, updated, of int) {
	n, all := int32(updated), int32(of)
	for _, resource := range []string{"deployments", "statefulsets", "daemonsets"} {
		gvr := appsv1.SchemeGroupVersion.WithResource(resource)
		object, err := m.Kube.Tracker().Get(gvr, namespace, name)
		if err != nil {
			continue // it is of another kind
		}
		object = object.DeepCopyObject()
		switch o := object.(type) {
		case *appsv1.Deployment:
			o.Status.UpdatedReplicas, o.Status.ObservedGeneration, o.ResourceVersion = n, o.Generation, versionOf(o.ResourceVersion)
		case *appsv1.StatefulSet:
			o.Status.UpdatedReplicas, o.Status.ObservedGeneration, o.ResourceVersion = n, o.Generation, versionOf(o.ResourceVersion)
		case *appsv1.DaemonSet:
			o.Status.UpdatedNumberScheduled, o.Status.ObservedGeneration, o.Status.DesiredNumberScheduled, o.ResourceVersion = n, o.Generation, all, versionOf(o.ResourceVersion)
		}
		_ = m.Kube.Tracker().Update(gvr, object, namespace)
	}
}
