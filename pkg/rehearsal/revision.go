package rehearsal

import (
	"cmp"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
)

// Cool takes the flag of a hot mesh off every istiod, as an upgrade of its chart does:
// each is rolled.
func (m *Mesh) Cool() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	gvr := appsv1.SchemeGroupVersion.WithResource("deployments")
	for _, p := range m.planes {
		object, err := m.Kube.Tracker().Get(gvr, istioNamespace, p.deployment)
		if err != nil {
			return fmt.Errorf("rehearsal: %w", err)
		}
		p.MultiRoot = false
		d := object.(*appsv1.Deployment).DeepCopy()
		d.Spec.Template.Spec.Containers[0].Env, d.ResourceVersion = p.env(), versionOf(d.ResourceVersion)
		if err := m.Kube.Tracker().Update(gvr, d, istioNamespace); err != nil {
			return fmt.Errorf("rehearsal: %w", err)
		}
		m.rollIstiods(p)
	}
	return nil
}

// StartRevision installs a control plane beside those there are, as "istioctl install
// --revision" does: its istiods start from what the CA Secret holds at this moment, and
// serve no proxy yet.
func (m *Mesh) StartRevision(r Revision) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.Release = cmp.Or(r.Release, m.spec.Release)
	p := &plane{Revision: r, deployment: "istiod-" + r.Name}
	if err := m.Kube.Tracker().Add(p.object()); err != nil {
		return fmt.Errorf("rehearsal: %w", err)
	}
	if err := m.Kube.Tracker().Add(p.webhook()); err != nil {
		return fmt.Errorf("rehearsal: %w", err)
	}
	m.planes = append(m.planes, p)
	for range p.Replicas {
		if err := m.startIstiod(p); err != nil {
			return err
		}
	}
	m.change()
	return nil
}
