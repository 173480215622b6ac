package rotation

import (
	"context"
	"fmt"
)

// ready waits until the i-th step may be made. Whatever was waited for since the gate
// before it was open (a pause, the certificates of those whom nobody could read), that gate
// is asked once more: who has come since, or was changed, is not proven.
func (r *run) ready(ctx context.Context, steps []Step, i int, at place) error {
	outlived := map[string]bool{}
	for {
		waited, err := r.heldUp(ctx)
		if err != nil || i == at.step && at.written {
			return err // what stands there is proven by its own gate, which comes yet
		}
		if !waited {
			if waited, err = r.quarantine(ctx, steps, i, outlived); err != nil || !waited {
				return err
			}
		}
		if err := r.again(ctx, steps, i, at); err != nil {
			return err
		}
	}
}

// again asks the gate before the i-th step once more. Where this run began on a road that
// it has left (on the way back, or forward again) nothing was asked before its first write.
func (r *run) again(ctx context.Context, steps []Step, i int, at place) error {
	phase, name := r.phase, r.step
	defer func() { r.phase, r.step = phase, name }()
	if i > at.step {
		return r.stillProven(ctx, steps[i-1])
	}
	if at.untouched {
		return r.sound(ctx)
	}
	return nil
}

// stillProven proves a step that was proven before something was waited for.
func (r *run) stillProven(ctx context.Context, step Step) error {
	r.phase, r.step = step.Phase, step.Name
	if err := r.stands(ctx, step); err != nil {
		return err
	}
	if err := r.gate(ctx, step); err != nil {
		return err
	}
	return r.stands(ctx, step)
}

// stands requires that the CA Secret holds what a step has written. Its gate does not tell:
// istiods that load nothing in place go on with what they have until they start anew.
func (r *run) stands(ctx context.Context, step Step) error {
	return r.insist(ctx, r.plan.object(), func() error {
		secret, err := r.plan.read(ctx, r.Kube)
		if err != nil {
			return err
		}
		if there := entriesOf(secret); !r.has(step, there) {
			return r.foreign(there)
		}
		return nil
	})
}

// has reports whether a Secret holds what a step has written; of the one that this run began
// with, also as it was found.
func (r *run) has(step Step, there map[string][]byte) bool {
	return r.material.has(step, there) || r.foundAs == step.key() && r.material.same(there, r.found)
}

// predecessor tells what stands in the CA Secret when the i-th step is written: what the step
// before it has written, or, at the first write of a run, what this run has found.
func (r *run) predecessor(steps []Step, i int, at place) func(map[string][]byte) bool {
	return func(there map[string][]byte) bool {
		switch {
		case i > at.step:
			return r.has(steps[i-1], there)
		case at.untouched:
			return r.material.untouched(r.plan, there)
		}
		return r.material.same(there, r.found)
	}
}

// foreign is the error of a CA Secret that holds something else than was written last.
func (r *run) foreign(there map[string][]byte) error {
	holds := "neither the CA of the start nor that of any phase"
	if r.material.untouched(r.plan, there) {
		holds = "the CA of the start again"
	}
	for _, steps := range [][]Step{r.plan.Back, r.plan.Steps} {
		if i, ok := r.material.find(steps, there); ok {
			holds = fmt.Sprintf("what phase %s (%s) has written, and not what was written last", steps[i].Phase, steps[i].Name)
		}
	}
	return fmt.Errorf("%w: %s holds %s", ErrForeign, r.plan.object(), holds)
}
