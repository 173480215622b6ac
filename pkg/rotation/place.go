package rotation

import "slices"

// place is where the CA Secret stands in a rotation: the step to go on with.
type place struct {
	step int
	// written is true where the step stands in the Secret already.
	written bool
	// warmer is true where a layout stands there that is written only where istiods load a
	// bundle in place: those of today would refuse the next signer behind other bytes.
	warmer bool
	// untouched is true where it still holds the old CA, and nothing of the plan.
	untouched bool
}

// find is the index of the last step that has this layout, or its nudge.
func (m *material) find(steps []Step, data map[string][]byte) (int, bool) {
	for i, step := range slices.Backward(steps) {
		if m.has(step, data) {
			return i, true
		}
	}
	return 0, false
}

// at is the place of a step that the Secret holds.
func (m *material) at(steps []Step, i int, data map[string][]byte) place {
	step := steps[i]
	step.warmer = nil
	own := m.has(step, data)
	return place{step: i, written: own, warmer: !own}
}

// has reports whether a Secret holds what a step writes, its nudge, or what the same step
// writes where istiods load a bundle in place.
func (m *material) has(step Step, data map[string][]byte) bool {
	return slices.ContainsFunc(append([][]byte{step.Roots, step.nudge}, step.warmer...), func(roots []byte) bool {
		return roots != nil && m.same(data, m.entries(step, roots))
	})
}

// forward is where to go on with the plan; false where somebody else wrote the
// Secret. data is nil where there is none.
func (m *material) forward(p *Plan, data map[string][]byte) (place, bool) {
	if i, ok := m.find(p.Steps, data); ok {
		return m.at(p.Steps, i, data), true
	}
	if m.untouched(p, data) {
		return place{untouched: true}, true
	}
	if i, ok := m.find(p.Back, data); ok {
		// On the way back already: the first step after the adoption holds for what both
		// CAs have signed.
		first := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Phase != Adopt })
		return place{step: first, warmer: m.at(p.Back, i, data).warmer}, true
	}
	if _, ok := m.find(p.begun, data); ok {
		return place{}, true
	}
	return place{}, false
}

// backward is where to go on with the way back.
func (m *material) backward(p *Plan, data map[string][]byte) (place, bool) {
	if i, ok := m.find(p.Back, data); ok {
		return m.at(p.Back, i, data), true
	}
	if m.untouched(p, data) {
		return place{untouched: true, step: len(p.Back)}, true
	}
	if i, ok := m.find(p.Steps, data); ok {
		return place{step: p.Steps[i].back, warmer: m.at(p.Steps, i, data).warmer}, true
	}
	return place{}, false
}

// untouched reports whether the Secret is as it was before the rotation.
func (m *material) untouched(p *Plan, data map[string][]byte) bool {
	if p.Adopts {
		return data == nil || m.generated(data)
	}
	return m.same(data, m.old)
}
