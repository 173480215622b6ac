package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation/restart"
)

// wavePatience bounds one wave of restarts.
const wavePatience = 15 * time.Minute

// waves restarts the workloads of the proxies that a step waits for, and no other.
// Whatever may not be restarted is named and left to the gate, which stays closed
// until it has followed by itself or somebody has restarted it; what was in the way
// may be gone by the next round. It reports whether any was restarted.
func (r *run) waves(ctx context.Context, step Step, behind []mesh.Proxy) (bool, error) {
	var inventory *restart.Inventory
	err := r.insist(ctx, "workloads", func() (err error) {
		inventory, err = restart.Read(ctx, r.Kube, behind)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("planning restarts: %w", err)
	}
	rounds := r.round(step)
	defer func() { rounds.ended(r.Clock.Now()) }()
	// A pod that was made after every istiod handed this step out has it.
	since := r.journal.state.Published[step.key()]
	plan := restart.NewPlan(behind, inventory, restart.Config{Since: since, AtOnce: r.AtOnce, Allow: r.AllowRestart})
	for _, t := range append(plan.Left, rounds.spent(plan)...) {
		message := fmt.Sprintf("%s is not restarted: %s", t, t.Why)
		if t.Remedy != "" {
			message += "; " + t.Remedy
		}
		if rounds.news(t, message) {
			r.emit(Event{Kind: EventWarning, Object: t.String(), Message: message})
		}
	}
	if len(plan.Waves) == 0 {
		return false, nil
	}
	runner := &restart.Runner{Kube: r.Kube, Clock: r.cluster(), Since: since, FieldManager: fieldManager, Before: r.ours, Hold: r.paused, Patience: wavePatience, Emit: func(p restart.Progress) {
		if p.State == restart.Restarted {
			r.figures.Workloads += p.Target.Replaced
		}
		r.emit(Event{Kind: EventWorkload, Object: p.Target.String(), Message: fmt.Sprintf("wave %d of %d: %s %s%s", p.Wave, p.Of, p.Target, p.State, detail(p.Detail))})
	}}
	began := r.Clock.Now()
	_, err = runner.Run(ctx, plan)
	r.deadline = r.deadline.Add(r.Clock.Now().Sub(began)) // waves have a patience of their own
	if err != nil {
		return true, fmt.Errorf("restarting workloads: %w", err)
	}
	return true, nil
}

// ours reports, before a write, whether the Lease is still this run's.
func (r *run) ours(ctx context.Context) error {
	return r.insist(ctx, r.lease.object(), func() error { return r.lease.renew(ctx) })
}

func detail(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}
