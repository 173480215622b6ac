package rehearsal

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// startWorkload starts a workload's proxies.
func (m *Mesh) startWorkload(w Workload) error {
	for range w.Proxies {
		if err := m.startOf(w); err != nil {
			return err
		}
	}
	return nil
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
	if err := m.remove(p); err != nil {
		return err
	}
	if p.workload.Controller != BarePod {
		err = m.startOf(p.workload)
	}
	m.change()
	return err
}

// Workload lists the refs of a workload's pods, as they are now.
func (m *Mesh) Workload(namespace, name string) (refs []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.proxies {
		if p.namespace == namespace && p.workload.Name == name {
			refs = append(refs, p.ref())
		}
	}
	return refs
}

func (m *Mesh) find(ref string) (*sidecar, error) {
	if i := slices.IndexFunc(m.proxies, func(p *sidecar) bool { return p.ref() == ref }); i >= 0 {
		return m.proxies[i], nil
	}
	return nil, fmt.Errorf("rehearsal: there is no proxy %s", ref)
}

func (m *Mesh) remove(p *sidecar) error {
	m.proxies = slices.DeleteFunc(m.proxies, func(other *sidecar) bool { return other == p })
	p.generation++ // no renewal any more
	pods := corev1.SchemeGroupVersion.WithResource("pods")
	if err := m.Kube.Tracker().Delete(pods, p.namespace, p.name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("rehearsal: %w", err)
	}
	return nil
}
