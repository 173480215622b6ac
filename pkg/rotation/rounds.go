package rotation

import (
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rotation/restart"
)

const (
	// mostRestarts is how often a run restarts one workload for one step: what still lags
	// then is not helped by another restart.
	mostRestarts = 2
	// roundPause is the pause before a step's restarts are planned once more, for what
	// lags still or has come since: a budget that was in the way, or a workload that was
	// single, may be so no more. It doubles with each round, up to longestRound.
	roundPause   = 30 * time.Second
	longestRound = 10 * time.Minute
)

// rounds are the restarts of one step by one run.
type rounds struct {
	n        int
	last     time.Time              // when the round before ended
	restarts map[restart.Ref]int    // by workload
	told     map[restart.Ref]string // what was last said of one
}

// round is what a step's restarts have come to.
func (r *run) round(step Step) *rounds {
	w := r.waved[step.key()]
	if w == nil {
		w = &rounds{restarts: map[restart.Ref]int{}, told: map[restart.Ref]string{}}
		r.waved[step.key()] = w
	}
	return w
}

// due reports whether another round may begin.
func (w *rounds) due(now time.Time) bool {
	return w.n == 0 || now.Sub(w.last) >= min(roundPause<<min(w.n-1, 8), longestRound)
}

func (w *rounds) ended(now time.Time) { w.n, w.last = w.n+1, now }

// spent takes those out of a plan that were restarted often enough, and counts the
// others.
func (w *rounds) spent(plan *restart.Plan) (spent []restart.Target) {
	for i := range plan.Waves {
		plan.Waves[i] = slices.DeleteFunc(plan.Waves[i], func(t restart.Target) bool {
			if w.restarts[t.Ref] < mostRestarts {
				w.restarts[t.Ref]++
				return false
			}
			t.Why = fmt.Sprintf("that was done %d times for this step, and %d of its pods lag still (%s)", mostRestarts, len(t.Pods), t.Pods[0].Name)
			t.Remedy = "see why its new pods do not come up, or replace the old ones by hand"
			spent = append(spent, t)
			return true
		})
	}
	plan.Waves = slices.DeleteFunc(plan.Waves, func(wave []restart.Target) bool { return len(wave) == 0 })
	return spent
}

// news reports whether this was not what was last said of a workload.
func (w *rounds) news(t restart.Target, message string) bool {
	if w.told[t.Ref] == message {
		return false
	}
	w.told[t.Ref] = message
	return true
}
