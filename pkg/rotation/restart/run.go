package restart

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"
)

// Clock is time as a Runner meets it.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Runner makes a plan's waves so.
type Runner struct {
	Kube  kubernetes.Interface
	Clock Clock
	// Since is the plan's: a template that was marked after it is on its way already.
	Since time.Time
	// FieldManager names the writer of what is patched.
	FieldManager string
	// Before is called before each write, and its error ends the run: a lease is
	// renewed there. It may be nil.
	Before func(context.Context) error
	// Hold is called before each look at a wave, and may keep it for as long as nothing
	// more is to be begun; its error ends the run. It may be nil.
	Hold func(context.Context) error
	// Emit is told each change of a target's state, one at a time. It may be nil.
	Emit func(Progress)
	// Patience bounds each wave, without what Hold takes; zero leaves it to the context.
	Patience time.Duration
}

// State is how far a target is.
type State string

const (
	// Waiting: it has not begun, for the reason that Detail gives.
	Waiting State = "waiting"
	// Restarting: it is on its way, also where an earlier run began it.
	Restarting State = "restarting"
	// Restarted: every pod that needed it is new, and all of them serve.
	Restarted State = "restarted"
	// Failed: it will not get there by itself.
	Failed State = "failed"
)

// Progress is a target's state in the wave that it belongs to.
type Progress struct {
	At     time.Time `json:"at"`
	Wave   int       `json:"wave"` // from 1
	Of     int       `json:"of"`
	Target Target    `json:"target"`
	State  State     `json:"state"`
	Detail string    `json:"detail,omitempty"`
}

// ErrStuck: a wave did not end. What was begun goes on by itself, nothing more was
// begun, and the same plan can be made and run again.
var ErrStuck = errors.New("the restart got stuck")

// Run restarts wave by wave and returns where each target it has begun with ended.
// A target that fails ends the run after its wave. It goes on from what is true:
// what an earlier run has marked is waited for, and not marked again.
func (r *Runner) Run(ctx context.Context, plan *Plan) ([]Progress, error) {
	var results []Progress
	for n, targets := range plan.Waves {
		w := &wave{Runner: r, number: n + 1, of: len(plan.Waves)}
		for _, t := range targets {
			w.moves = append(w.moves, &move{target: t, queue: t.Pods})
		}
		err := w.run(ctx)
		for _, m := range w.moves {
			results = append(results, w.progress(m))
		}
		if err != nil {
			return results, err
		}
	}
	return results, nil
}

// Pauses between two looks at a wave.
const (
	firstPause   = 250 * time.Millisecond
	longestPause = 5 * time.Second
)

// wave is the restart of some workloads at once.
type wave struct {
	*Runner
	number, of int
	moves      []*move
	budgets    []Budget // as of this look
	budgetsErr error
}

// move is one target under way.
type move struct {
	target Target
	state  State
	detail string
	err    error
	told   Progress

	marked  time.Time // what its template was marked with
	queue   []Pod     // still to evict
	evicted *Pod      // and not yet made up for
	gone    bool
}

func (m *move) over() bool { return m.state == Restarted || m.state == Failed }

func (m *move) fail(err error) { m.state, m.err, m.detail = Failed, err, err.Error() }

func (w *wave) run(ctx context.Context) error {
	end := w.Clock.Now().Add(w.Patience)
	for _, m := range w.moves {
		m.state = Waiting
	}
	pause := firstPause
	for {
		if w.Hold != nil {
			began := w.Clock.Now()
			if err := w.Hold(ctx); err != nil {
				return err
			}
			end = end.Add(w.Clock.Now().Sub(began))
		}
		if err := w.look(ctx); err != nil {
			return err
		}
		var failures []error
		over := 0
		for _, m := range w.moves {
			w.tell(m)
			if m.over() {
				over++
			}
			if m.err != nil {
				failures = append(failures, fmt.Errorf("%s: %w", m.target, m.err))
			}
		}
		if over == len(w.moves) {
			return errors.Join(failures...)
		}
		if w.Patience > 0 && !w.Clock.Now().Before(end) {
			for _, m := range w.moves {
				if !m.over() {
					failures = append(failures, fmt.Errorf("%w: %s, wave %d of %d, after %s: %s", ErrStuck, m.target, w.number, w.of, w.Patience, m.detail))
				}
			}
			return errors.Join(failures...)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.Clock.After(pause):
		}
		pause = min(pause+pause/4, longestPause)
	}
}

// look moves every target as far as it can go now. Its error ends the run.
func (w *wave) look(ctx context.Context) error {
	w.readBudgets(ctx)
	// What is on its way already takes of the budgets, wherever it stands in the list.
	slices.SortStableFunc(w.moves, func(a, b *move) int { return cmp.Compare(rank(a), rank(b)) })
	failed := false
	for _, m := range w.moves {
		failed = failed || m.state == Failed
	}
	for _, m := range w.moves {
		if m.over() {
			continue
		}
		if failed && m.state == Waiting {
			m.fail(errors.New("not begun: another workload of its wave failed"))
			continue
		}
		step := w.rollout
		if m.target.Method == Evict {
			step = w.evict
		}
		if err := step(ctx, m); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

func rank(m *move) int {
	if m.state == Waiting && !m.target.begun {
		return 1
	}
	return 0
}

func (w *wave) progress(m *move) Progress {
	return Progress{At: w.Clock.Now(), Wave: w.number, Of: w.of, Target: m.target, State: m.state, Detail: m.detail}
}

func (w *wave) tell(m *move) {
	if m.told.State == m.state && m.told.Detail == m.detail {
		return
	}
	m.told = w.progress(m)
	if w.Emit != nil {
		w.Emit(m.told)
	}
}
