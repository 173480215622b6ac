package rotation

import (
	"context"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"k8s.io/client-go/kubernetes"
)

// Standing is how far the CA Secret itself has come in a plan, or on its way back,
// whatever the journal says.
type Standing struct {
	// Written of Of writes stand.
	Written int `json:"written"`
	Of      int `json:"of"`
	// Step is what stands in the Secret, nil where that is the old CA.
	Step *Step `json:"-"`
	// Back are the phases of the way back from here.
	Back []Phase `json:"back,omitempty"`
}

// Stand finds out where a plan stands. staged is what its rotation keeps; back is
// true where the rotation is on its way back.
func (p *Plan) Stand(ctx context.Context, kube kubernetes.Interface, staged *Staged, back bool) (Standing, error) {
	secret, m, at, err := p.standing(ctx, kube, staged, back)
	if err != nil {
		return Standing{}, err
	}
	steps, others := p.Steps, p.Back
	if back {
		steps, others = p.Back, p.Steps
	}
	s := Standing{Written: at.step, Of: len(steps)}
	switch {
	case at.untouched:
		return s, nil
	case at.written || at.warmer && m.has(steps[at.step], entriesOf(secret)):
		s.Written, s.Step = at.step+1, &steps[at.step]
	default: // the first write in this direction is yet to come
		if i, ok := m.find(others, entriesOf(secret)); ok {
			s.Step = &others[i]
		}
	}
	from := at.step
	if !back && s.Step != nil {
		from = s.Step.back
	}
	for _, step := range p.Back[min(from, len(p.Back)):] {
		if !slices.Contains(s.Back, step.Phase) {
			s.Back = append(s.Back, step.Phase)
		}
	}
	return s, nil
}

// Begin judges the mesh that was planned from as the gate before the first write does, as
// far as can be told without a throw-away request to istiods, and keeps a gate that is
// closed. What goes on is judged by the step where it stands, what mends an outage by none.
func (p *Plan) Begin(s *mesh.Snapshot, accept map[string]string) {
	if len(p.Refusals) > 0 || p.config.Back || p.config.Resumed || p.Strategy == Recover || p.Strategy == "" && !p.AlreadyDone {
		return
	}
	e := p.Expected(Standing{}, false)
	if p.AlreadyDone {
		e = p.target
		e.CSRProof = false
	}
	e.nodes, e.unserved = p.nodes, p.unserved
	status := e.Judge(s, accept)
	if p.config.CSRProof && p.unserved { // an answer will tell what is not known by what is served
		status.Blockers = slices.DeleteFunc(status.Blockers, func(b Blocker) bool { return b.Kind == "istiod" && b.Unknown })
	}
	if !status.Open() {
		p.Gate = &status
	}
}

// Expected is what must be true of the mesh where a plan stands: of its start where
// nothing has been written. Without proof, what istiods serve is enough, for those
// who only look.
func (p *Plan) Expected(at Standing, proof bool) Expectation {
	e := p.baseline
	if at.Step != nil {
		e = at.Step.expect
	}
	e.CSRProof = e.CSRProof && proof
	return e
}
