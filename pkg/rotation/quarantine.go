package rotation

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// quarantine waits one lifetime of a leaf before the old CA loses its last trust,
// where somebody could not be read and was accepted: what it may still present
// has expired by then. Where all were read there is nothing to wait for, nor where
// the root keeps its key: its new certificate vouches for all of it.
func (r *run) quarantine(ctx context.Context, step Step) error {
	if r.Back || r.plan.reissue || len(r.unseen) == 0 || step.Phase != DistrustOld && step.Phase != SwapTrust {
		return nil
	}
	since := r.at
	for key, at := range r.journal.state.Proven {
		if strings.HasPrefix(key, string(SignNew)+"/") && at.Before(since) {
			since = at // from then on nobody signs with the old CA
		}
	}
	left := since.Add(r.plan.leafLife).Sub(r.at)
	if left <= 0 {
		return nil
	}
	r.emit(Event{Kind: EventWait, Message: fmt.Sprintf("%s until every certificate of the old CA has expired: %s could not be read (and %d in all)", left.Round(time.Second), r.unseen[0].Object, len(r.unseen))})
	return r.let(ctx, left)
}
