package rotation

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// patience is how long an API server may be away before a write is given up.
	patience = 2 * time.Minute
	// conflicts is how often in a row somebody else may be faster.
	conflicts = 5
	// longestTry is the longest pause between two tries.
	longestTry = 5 * time.Second
)

// insist does one thing until it is done: an API server that restarts, or that has
// too much to do, is waited for; a conflict is met by reading anew, which f does.
// Whatever else fails is not tried again.
func (r *run) insist(ctx context.Context, object string, f func() error) error {
	end := r.Clock.Now().Add(patience)
	pause, clashes, told := firstPoll, 0, false
	for {
		err := f()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
			if clashes++; clashes >= conflicts {
				return fmt.Errorf("%s is changed by somebody else all the time: %w", object, err)
			}
			continue
		case !passing(err) || r.Clock.Now().After(end):
			return err
		}
		if !told {
			told = true
			r.emit(Event{Kind: EventWarning, Object: object, Message: "waiting for the API server: " + err.Error()})
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.Clock.After(pause):
		}
		pause = min(pause*2, longestTry)
	}
}

// passing reports whether an error is of the API server's state, or of the way to
// it, and not of what was asked.
func passing(err error) bool {
	if errors.Is(err, ErrHeld) || errors.Is(err, ErrForeign) {
		return false
	}
	if apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err) {
		return true
	}
	var transport *url.Error
	return errors.As(err, &transport)
}

// save writes the journal.
func (r *run) save(ctx context.Context) error {
	return r.insist(ctx, "configmap "+r.plan.Namespace+"/"+r.journal.name(), func() error { return r.journal.save(ctx) })
}
