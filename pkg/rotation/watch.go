package rotation

import (
	"context"
	"fmt"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// count takes the baseline that traffic through the change is held against: what
// the proxies count of their upstreams in an interval before the next write.
func (r *run) count(ctx context.Context) error {
	if r.Baseline <= 0 {
		return nil
	}
	r.emit(Event{Kind: EventWait, Until: r.Clock.Now().Add(r.Baseline), Message: fmt.Sprintf("%s of real traffic, to know what fails already", r.Baseline)})
	for look := range 2 {
		if look > 0 {
			if err := r.let(ctx, r.Baseline); err != nil {
				return err
			}
		}
		s, err := r.look(ctx, Observation{Vouching: r.vouching, Proxies: true, Counters: true})
		if err != nil {
			return fmt.Errorf("counting traffic: %w", err)
		}
		r.traffic.Add(s.TakenAt, s.Proxies)
	}
	r.traffic.Change()
	return nil
}

// normal keeps, before the first write, what was counted then, and holds what a run that
// goes on has counted against it: what the rotation itself has broken is not what was
// normal. On the way back it is no reason to stay.
func (r *run) normal(at place) error {
	if r.Baseline <= 0 {
		return nil
	}
	now := r.traffic.Baseline()
	if at.untouched {
		r.journal.state.Traffic = &now
		return nil
	}
	if before := r.journal.state.Traffic; before != nil && !r.Back {
		if why := now.Rose(*before); why != "" {
			return fmt.Errorf("%w: %s", ErrWorse, why)
		}
	}
	return nil
}

// watch takes what the proxies have counted since into account: a share of failures
// that has risen keeps a gate closed. It returns why, or "".
func (r *run) watch(o Observation, s *mesh.Snapshot) string {
	if !o.Counters {
		return ""
	}
	r.traffic.Add(s.TakenAt, s.Proxies)
	verdict := r.traffic.Verdict()
	if !verdict.Closed() {
		return ""
	}
	more := ""
	if n := len(verdict.Rising) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	return verdict.Rising[0].String() + more
}
