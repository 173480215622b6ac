package rotation

import (
	"context"
	"fmt"
	"maps"
	"time"
)

// CommandKind is what an operator can ask of a running engine.
type CommandKind string

const (
	// CommandPause: no further write until CommandResume. Gates are looked at meanwhile.
	CommandPause  CommandKind = "pause"
	CommandResume CommandKind = "resume"
	// CommandAccept: Object may stay unknown, for Reason.
	CommandAccept CommandKind = "accept"
)

// Command is sent to a running engine.
type Command struct {
	Kind   CommandKind
	Object string
	Reason string
}

// obey carries out one command.
func (r *run) obey(c Command) {
	switch c.Kind {
	case CommandPause:
		if !r.held {
			r.held, r.since = true, r.Clock.Now()
			r.emit(Event{Kind: EventPaused, Message: "paused: nothing is written until it is resumed; the mesh is safe as it stands"})
		}
	case CommandResume:
		if r.held {
			r.resume()
			r.emit(Event{Kind: EventResumed, Message: "resumed"})
		}
	case CommandAccept:
		if c.Object == "" || c.Reason == "" {
			r.emit(Event{Kind: EventWarning, Object: c.Object, Message: "not accepted: an object and a reason are needed"})
			return
		}
		if !named(c.Object) {
			r.emit(Event{Kind: EventWarning, Object: c.Object, Message: "not accepted: it is the name of no single object"})
			return
		}
		accepted := maps.Clone(r.accept)
		if accepted == nil {
			accepted = map[string]string{}
		}
		accepted[c.Object] = c.Reason
		r.accept = accepted
		delete(r.taken, c.Object) // whatever it is now
		if r.journal != nil {
			all := maps.Clone(r.journal.state.Accepted)
			if all == nil {
				all = map[string]string{}
			}
			all[c.Object] = c.Reason
			r.journal.state.Accepted = all
		}
		r.emit(Event{Kind: EventAccepted, Object: c.Object, Message: fmt.Sprintf("%s may stay unknown: %s", c.Object, c.Reason)})
	}
}

// take carries out what has come over the commands, or notes that nothing more will:
// then nobody is left who could resume a pause.
func (r *run) take(c Command, more bool) {
	if more {
		r.obey(c)
		return
	}
	r.commands = nil
	r.resume()
}

// resume ends a pause, if there is one. It was the operator's time: neither the
// engine's nor that of the gate that was waited at.
func (r *run) resume() {
	if !r.held {
		return
	}
	took := r.Clock.Now().Sub(r.since)
	r.held = false
	r.rest(took)
	if !r.prepared.IsZero() {
		r.prepared = r.prepared.Add(took)
	}
}

// over reports whether a deadline is over; while it is paused none ends.
func (r *run) over(deadline time.Time) bool {
	return !r.held && !r.Clock.Now().Before(deadline)
}

// paused takes the commands that have come, and waits while it is paused.
func (r *run) paused(ctx context.Context) error {
	_, err := r.heldUp(ctx)
	return err
}

// heldUp is paused, and says whether it has waited.
func (r *run) heldUp(ctx context.Context) (waited bool, err error) {
	for {
		select {
		case c, more := <-r.commands:
			r.take(c, more)
			continue
		default:
		}
		if !r.held {
			return waited, nil
		}
		waited = true
		select {
		case <-ctx.Done():
			return waited, context.Cause(ctx)
		case c, more := <-r.commands:
			r.take(c, more)
		}
	}
}
