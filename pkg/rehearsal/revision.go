package rehearsal

import (
	"cmp"
	"fmt"
)

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
