package rotation

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// material is everything a rotation writes from: the old Secret's entries as they
// were, and the new signer's. It holds keys, and is never printed.
type material struct {
	layout mesh.Layout
	old    map[string][]byte
	new    pki.Files
}

// newMaterial lays the new signer out; old are the Secret's entries at the start.
func newMaterial(kind mesh.CAKind, old map[string][]byte, ca *pki.Authority) (*material, error) {
	layout, ok := mesh.LayoutOf(kind)
	if !ok {
		return nil, fmt.Errorf("a CA of kind %q is not written", kind)
	}
	files, err := ca.Files()
	if err != nil {
		return nil, fmt.Errorf("the new CA: %w", err)
	}
	return &material{layout: layout, old: maps.Clone(old), new: files}, nil
}

// entries are the Secret's after a step. What is not ours stays as it was.
func (m *material) entries(step Step, roots []byte) map[string][]byte {
	data := maps.Clone(m.old)
	data[m.layout.Root] = roots
	if step.Signs == oldSide {
		return data
	}
	data[m.layout.Key] = m.new.CAKey.Data
	if m.layout.Chain == "" {
		data[m.layout.Cert] = step.Chain
		return data
	}
	data[m.layout.Cert], data[m.layout.Chain] = m.new.CACert.Data, step.Chain
	return data
}

// same reports whether the entries that istiod reads are the same in both.
func (m *material) same(a, b map[string][]byte) bool {
	return !slices.ContainsFunc(m.layout.Entries(), func(name string) bool { return !bytes.Equal(a[name], b[name]) })
}

// start is the position before the first step.
const start = -1

// position is how far the Secret's entries have come: the index of the last step
// that wrote them, start for the old CA, ok false where somebody else did.
func (m *material) position(steps []Step, data map[string][]byte) (index int, ok bool) {
	for i := len(steps) - 1; i >= 0; i-- {
		if m.same(data, m.entries(steps[i], steps[i].Roots)) || steps[i].nudge != nil && m.same(data, m.entries(steps[i], steps[i].nudge)) {
			return i, true
		}
	}
	return start, m.same(data, m.old)
}
