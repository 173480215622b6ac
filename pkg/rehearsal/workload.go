package rehearsal

import (
	"fmt"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// startWorkload starts a workload's proxies.
func (m *Mesh) startWorkload(w Workload) error {
	for n := range w.Proxies {
		if n < len(w.Pods) {
			if err := m.start(w, w.Pods[n], m.number()); err != nil {
				return err
			}
			continue
		}
		if err := m.startOf(w); err != nil {
			return err
		}
	}
	return nil
}

// StartWorkload adds a workload, with its controller, to the running mesh.
func (m *Mesh) StartWorkload(w Workload) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if controller := m.controller(w); controller != nil {
		if err := m.Kube.Tracker().Add(controller); err != nil {
			return fmt.Errorf("rehearsal: %w", err)
		}
	}
	m.spec.Workloads = append(m.spec.Workloads, w)
	return m.startWorkload(w)
}

// startOf starts one more pod of a workload, named as its controller would.
func (m *Mesh) startOf(w Workload) error {
	number := m.number()
	name := fmt.Sprintf("%s-%s-%05d", w.Name, templateHash, number)
	switch w.Controller {
	case "", "Deployment":
	case BarePod:
		name = fmt.Sprintf("%s-%d", w.Name, number)
	default:
		name = fmt.Sprintf("%s-%05d", w.Name, number)
	}
	return m.start(w, name, number)
}

// Hang stops a proxy's agent: it takes no push and renews nothing, while its Envoy
// goes on with what it has.
func (m *Mesh) Hang(ref string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, err := m.find(ref)
	if err == nil {
		p.hung = true
	}
	return err
}

// Replace deletes a pod, in whose place its controller starts a new one, as
// "kubectl delete pod" would have it.
func (m *Mesh) Replace(ref string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, err := m.find(ref)
	if err != nil {
		return err
	}
	return m.replace(p)
}

func (m *Mesh) replace(p *sidecar) error {
	err := m.remove(p)
	if err == nil && p.workload.Controller != BarePod {
		err = m.startOf(p.workload)
	}
	m.change()
	return err
}

// recreate is what happens when a pod was deleted or evicted from outside.
func (m *Mesh) recreate(ref string) {
	p, err := m.find(ref)
	if err != nil {
		return // it is no proxy, or gone
	}
	_ = m.replace(p) // of what there is: it cannot fail
}

// pods are a workload's proxies.
func (m *Mesh) pods(namespace, name string) (all []*sidecar) {
	for _, p := range m.proxies {
		if p.namespace == namespace && p.workload.Name == name {
			all = append(all, p)
		}
	}
	return all
}

// controller is a workload's object, nil for bare pods.
func (m *Mesh) controller(w Workload) runtime.Object {
	n := int32(w.Proxies)
	of := metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name, Generation: 1, ResourceVersion: "1", UID: uid("apps", w.Namespace, w.Name)}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": w.Name}}
	switch w.Controller {
	case BarePod:
		return nil
	case "StatefulSet":
		return &appsv1.StatefulSet{ObjectMeta: of, Spec: appsv1.StatefulSetSpec{Replicas: &n, Selector: selector}, Status: appsv1.StatefulSetStatus{ObservedGeneration: 1, Replicas: n, ReadyReplicas: n, UpdatedReplicas: n, AvailableReplicas: n}}
	case "DaemonSet":
		return &appsv1.DaemonSet{ObjectMeta: of, Spec: appsv1.DaemonSetSpec{Selector: selector}, Status: appsv1.DaemonSetStatus{ObservedGeneration: 1, DesiredNumberScheduled: n, CurrentNumberScheduled: n, NumberReady: n, UpdatedNumberScheduled: n, NumberAvailable: n}}
	}
	return &appsv1.Deployment{ObjectMeta: of, Spec: appsv1.DeploymentSpec{Replicas: &n, Selector: selector}, Status: appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: n, ReadyReplicas: n, UpdatedReplicas: n, AvailableReplicas: n}}
}

func uid(kind, namespace, name string) types.UID {
	return types.UID(kind + "/" + namespace + "/" + name)
}

// register makes the WorkloadEntry of a virtual machine.
func (m *Mesh) register(name string) error {
	namespace := m.meshed()[0]
	entry := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
		"metadata": map[string]any{"namespace": namespace, "name": name}, "spec": map[string]any{"address": "192.0.2.1", "serviceAccount": "default"},
	}}
	gvr := schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "workloadentries"}
	if err := m.Dynamic.Tracker().Create(gvr, entry, namespace); err != nil {
		return fmt.Errorf("rehearsal: %w", err)
	}
	return nil
}

// startVM adds a virtual machine: a proxy that no pod shows.
func (m *Mesh) startVM(name string) {
	namespace := m.meshed()[0]
	m.join(&sidecar{mesh: m, namespace: namespace, name: name, vm: true, workload: Workload{Namespace: namespace, Name: name, Cold: true}, number: m.number()})
}

// freezeTrust makes a namespace's trust ConfigMap immutable, with this bundle in it.
func (m *Mesh) freezeTrust(namespace string, bundle []byte) error {
	object, err := m.Kube.Tracker().Get(configMaps(), namespace, m.trustName())
	if err != nil {
		return fmt.Errorf("rehearsal: %w", err)
	}
	cm, immutable := object.(*corev1.ConfigMap).DeepCopy(), true
	cm.Immutable, cm.Data = &immutable, map[string]string{pki.RootFile: string(bundle)}
	if err := m.Kube.Tracker().Update(configMaps(), cm, namespace); err != nil {
		return fmt.Errorf("rehearsal: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refresh(namespace)
	return nil
}

// Workload lists the refs of a workload's pods, as they are now.
func (m *Mesh) Workload(namespace, name string) (refs []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pods(namespace, name) {
		refs = append(refs, p.ref())
	}
	return refs
}

func (m *Mesh) find(ref string) (*sidecar, error) {
	if p := m.byRef[ref]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("rehearsal: there is no proxy %s", ref)
}

func (m *Mesh) remove(p *sidecar) error {
	m.proxies = slices.DeleteFunc(m.proxies, func(other *sidecar) bool { return other == p })
	delete(m.byRef, p.ref())
	p.generation = -1 // no renewal any more
	pods := corev1.SchemeGroupVersion.WithResource("pods")
	if err := m.Kube.Tracker().Delete(pods, p.namespace, p.name); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("rehearsal: %w", err)
	}
	return nil
}
