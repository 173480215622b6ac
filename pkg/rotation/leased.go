package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errLeaseLost ends what was done under a Lease that is not this run's any more.
var errLeaseLost = errors.New("the lease was lost")

// acquire takes the Lease. Where another process of this name has it nobody can tell from
// the name whether that one lives: in containers it is as often the one that was killed
// before this one was started. One that lives is heard of again, and of one that does not
// the Lease runs out.
func (r *run) acquire(ctx context.Context) error {
	var heard time.Time
	for {
		err := r.insist(ctx, r.lease.object(), func() error { return r.lease.acquire(ctx) })
		var held *HeldError
		if !errors.As(err, &held) || !held.namesake || held.State.Renewed.IsZero() || held.State.Until.Sub(r.lease.now()) > 2*leaseDuration {
			return err
		}
		switch {
		case heard.IsZero():
			heard = held.State.Renewed
			r.emit(Event{Kind: EventWait, Object: r.lease.object(), Message: fmt.Sprintf("%s has the lease, another process of the same name as this one: until it is heard of again, or until %s", held.State.Holder, stamp(held.State.Until))})
		case !held.State.Renewed.Equal(heard):
			return err
		}
		if err := r.let(ctx, time.Second); err != nil {
			return err
		}
	}
}

// leased does something while the rotation's Lease is held; what it does ends when
// the Lease is lost.
func (r *run) leased(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.lease = newLease(r.Kube, r.plan.Namespace, r.Holder, r.Process, clusterClock{r.Clock, r.plan.skew}.Now)
	r.lease.dead = r.Dead
	if err := r.acquire(ctx); err != nil {
		return err
	}
	go r.lease.keep(ctx, r.Clock.After, func(err error) { cancel(fmt.Errorf("%w: %w", errLeaseLost, err)) })
	defer func() {
		after, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer done()
		if err := r.lease.release(after); err != nil {
			r.emit(Event{Kind: EventWarning, Object: "lease " + leaseName, Message: err.Error()})
		}
	}()
	err := do(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	r.lastWord(ctx, err)
	return err
}
