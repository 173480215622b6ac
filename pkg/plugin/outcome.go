package plugin

import (
	"errors"
	"fmt"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/rotation/restart"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// refusal is the error of a plan that will not be run.
func refusal(plan *rotation.Plan) error {
	if len(plan.Refusals) == 0 {
		return nil
	}
	first := plan.Refusals[0]
	more := ""
	if n := len(plan.Refusals) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more reasons)", n)
	}
	err := fmt.Errorf("refused: %s: %s%s", first.Object, first.Why, more)
	if first.ID == "unreadable" {
		return failed(err, first.Hint) // a permission or a connection is missing: nothing was found out
	}
	return found(err, first.Hint)
}

// unbegun is the error of a plan whose gate before the first write is closed as it stands.
func unbegun(plan *rotation.Plan) error {
	if plan.Gate == nil {
		return nil
	}
	return found(fmt.Errorf("it would not begin now: %w", &rotation.GateError{Phase: rotation.Prepare, Step: "start", Status: *plan.Gate}), "mend what is named first; 'kubectl meshca verify' shows all of it")
}

// outcome gives the end of an engine that went forward its exit code and hint.
func outcome(err error) error { return ended(err, false) }

// ended is that of one that went forward, or back: who is told to go on must not be
// turned round.
func ended(err error, back bool) error {
	again := "'kubectl meshca rotate'"
	if back {
		again = "'kubectl meshca rollback'"
	}
	var gate *rotation.GateError
	var held *rotation.HeldError
	var stop signalled
	switch {
	case err == nil:
		return nil
	case errors.As(err, &stop):
		return &Failure{Err: err, Code: stop.code(), Hint: "the mesh is safe as it stands; 'kubectl meshca status' says where that is, and " + again + " with the same flags goes on from there"}
	case errors.As(err, &gate) && gate.TimedOut:
		return &Failure{Err: err, Code: ExitTimeout, Hint: "the mesh is safe as it stands; mend what is named and run " + again + " again: it goes on from here"}
	case errors.As(err, &gate):
		return found(fmt.Errorf("refused, nothing was changed: %w", err), "mend what is named first; 'kubectl meshca verify' shows all of it")
	case errors.Is(err, rotation.ErrAway):
		return &Failure{Err: err, Code: ExitTimeout, Hint: "the mesh is safe as it stands; run " + again + " again when the API server answers: it goes on from here"}
	case errors.As(err, &held):
		return found(err, fmt.Sprintf("wait until it ends; a dead holder's lease runs out within a minute, or, if you know that it is dead: --take-over %s", quoted(held.State.Holder.Identity())))
	case errors.Is(err, rotation.ErrHeld):
		return found(err, "wait until it ends; a dead holder's lease runs out within a minute")
	case errors.Is(err, rotation.ErrBegun):
		return found(err, "run the same command again: it looks and plans anew, and goes on from what is there")
	case errors.Is(err, rotation.ErrStaged):
		return found(err, "finish it, then 'kubectl meshca retire'")
	case errors.Is(err, rotation.ErrWorse):
		return found(err, "this run has written nothing: see which proxies fail ('kubectl meshca verify'), mend it and run the same command again, or go back with 'kubectl meshca rollback'; where it fails for another reason, --traffic-baseline 0 goes on")
	case errors.Is(err, rotation.ErrPast) && back:
		return found(err, "nothing was done; 'kubectl meshca rotate' goes forward again, --to names a phase that is still ahead on the way back")
	case errors.Is(err, rotation.ErrPast):
		return found(err, "nothing was done; 'kubectl meshca rollback' goes back, --until names a phase that is still ahead")
	case errors.Is(err, rotation.ErrForeign):
		return found(err, "find out who wrote it, and have it stop: where the Secret holds what this rotation knows, the same command goes on from there, and from nothing else")
	case errors.Is(err, rotation.ErrNothing):
		return found(err, "")
	case errors.Is(err, restart.ErrStuck):
		return &Failure{Err: err, Code: ExitTimeout, Hint: "the mesh is safe as it stands; see why the workload does not come up, and run the same command again"}
	case errors.Is(err, rotation.ErrRefused):
		return found(err, "")
	case apierrors.IsConflict(err):
		return found(err, "somebody wrote it at the same moment: run the same command again, it looks and plans anew")
	}
	return explain(err)
}
