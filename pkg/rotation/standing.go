package rotation

import (
	"context"

	"k8s.io/client-go/kubernetes"
)

// Standing is how far the CA Secret itself has come in a plan or on its way back,
// whatever the journal says.
type Standing struct {
	// Index is that of the last step written, -1 where none is.
	Index int
	// Step is that step, nil where nothing has been written, or what is written stands
	// only on the way back.
	Step *Step
	// Back is true where it stands on the way back alone.
	Back bool
}

// Stand finds out where a plan stands. staged is what its rotation keeps.
func (p *Plan) Stand(ctx context.Context, kube kubernetes.Interface, staged *Staged) (Standing, error) {
	_, _, at, err := p.standing(ctx, kube, staged, false)
	if err != nil || at.untouched {
		return Standing{Index: -1}, err
	}
	if at.written {
		return Standing{Index: at.step, Step: &p.Steps[at.step]}, nil
	}
	_, _, at, err = p.standing(ctx, kube, staged, true)
	if err != nil || !at.written {
		return Standing{Index: -1}, err
	}
	return Standing{Index: -1, Step: &p.Back[at.step], Back: true}, nil
}

// Expected is what the gate of a step asks of the mesh. Without proof, what istiods
// serve is enough, for those who only look.
func (s Step) Expected(proof bool) Expectation {
	e := s.expect
	e.CSRProof = e.CSRProof && proof
	return e
}

// Expected is what must be true of the mesh where a plan stands: of its start where
// nothing has been written.
func (p *Plan) Expected(at Standing, proof bool) Expectation {
	if at.Step != nil {
		return at.Step.Expected(proof)
	}
	e := p.baseline
	e.CSRProof = e.CSRProof && proof
	return e
}
