package rotation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"syscall"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// conflicts is how often in a row somebody else may be faster.
	conflicts = 5
	// longestTry is the longest pause between two tries.
	longestTry = 5 * time.Second
)

// ErrAway: the API server, or the way to it, was not there until the time for gates
// was over. The mesh is safe as it stands, and the same command goes on from there.
var ErrAway = errors.New("the API server did not answer in time")

// insist does one thing until it is done: an API server that restarts, or that has
// too much to do, is waited for until the run's deadline; a conflict is met by
// reading anew, which f does. Whatever else fails is not tried again.
func (r *run) insist(ctx context.Context, object string, f func() error) error {
	clashes := 0
	for w := (waiting{run: r, object: object}); ; {
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
		case !passing(err):
			return err
		}
		if !w.more(ctx, err.Error()) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%w: %s: %w", ErrAway, object, err)
		}
	}
}

// look looks at the mesh until it is seen: one look that fails, whatever the reason,
// says nothing of the mesh. A look that the proxies are needed of has failed too where
// pods could not be listed.
func (r *run) look(ctx context.Context, o Observation) (*mesh.Snapshot, error) {
	for w := (waiting{run: r, object: "cluster"}); ; {
		s, err := r.Observer.Observe(ctx, o)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err == nil:
			if err = unlisted(s, o); err == nil {
				return s, nil
			}
		}
		if !w.more(ctx, err.Error()) {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, fmt.Errorf("%w: %w", ErrAway, err)
		}
	}
}

// unlisted is the error of a look without the pods that it was made for.
func unlisted(s *mesh.Snapshot, o Observation) error {
	for _, g := range s.Gaps {
		if o.Proxies && g.Resource == "pods" && g.Incomplete {
			return fmt.Errorf("%s: %s", g.Part, g.Error)
		}
	}
	return nil
}

// waiting is a wait for what does not answer, with the pauses of a gate.
type waiting struct {
	*run
	object string
	tries  int
	pause  time.Duration
	told   string
}

// more waits for the next try; it is false where there is none. Every reason is said
// once, not with every try.
func (w *waiting) more(ctx context.Context, why string) bool {
	if w.over(w.deadline) {
		return false
	}
	if w.told != why {
		w.told = why
		w.emit(Event{Kind: EventWait, Object: w.object, Message: "waiting for the API server: " + why})
	}
	if w.pause == 0 {
		w.pause = firstPoll
	} else if w.tries++; w.tries > 3 {
		w.pause = min(w.pause*2, longestTry)
	}
	pause := w.pause
	if left := w.deadline.Sub(w.Clock.Now()); left > 0 {
		pause = min(pause, left)
	}
	return w.run.pause(ctx, pause) == nil
}

// passing reports whether an error is of the API server's state, or of the way to
// it, and not of what was asked.
func passing(err error) bool {
	if errors.Is(err, ErrHeld) || errors.Is(err, ErrForeign) {
		return false
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		// A proxy before the API server has codes of its own, and no reasons.
		return status.Status().Code >= 500 || apierrors.IsTooManyRequests(err) || apierrors.IsTimeout(err)
	}
	var transport *url.Error
	var network net.Error
	return errors.As(err, &transport) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

// save writes the journal, where the Lease is still this run's: it is patched at no
// version, and must not be written over another run's.
func (r *run) save(ctx context.Context) error { return r.journaled(ctx, r.journal.save) }

// journaled writes the journal while the Lease is held.
func (r *run) journaled(ctx context.Context, write func(context.Context) error) error {
	return r.insist(ctx, r.journal.object(), func() error {
		if err := r.lease.renew(ctx); err != nil {
			return err
		}
		return write(ctx)
	})
}
