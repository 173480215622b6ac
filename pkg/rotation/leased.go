package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errLeaseLost ends what was done under a Lease that is not this run's any more.
var errLeaseLost = errors.New("the lease was lost")

// leased does something while the rotation's Lease is held; what it does ends when
// the Lease is lost.
func (r *run) leased(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.lease = &lease{kube: r.Kube, namespace: r.plan.Namespace, holder: r.Holder, now: clusterClock{r.Clock, r.plan.skew}.Now, dead: r.Dead}
	if err := r.insist(ctx, r.lease.object(), func() error { return r.lease.acquire(ctx) }); err != nil {
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
		return cause
	}
	return err
}
