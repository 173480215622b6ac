package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

const (
	// firstPoll is how soon a closed gate is looked at again. Pushes take about a
	// second, so for the first few looks stay close; then each waits a quarter
	// longer than the one before, up to a share of what is waited for.
	firstPoll  = 100 * time.Millisecond
	closeLooks = 20
	// shortestPause and longestPause bound that share.
	shortestPause = 500 * time.Millisecond
	longestPause  = 30 * time.Second
	// prepareWait is how long a mesh that nothing has been changed in may take to
	// be whole: a pod that starts, a rollout that ends.
	prepareWait = 30 * time.Second
	// nudgeAfter is how long stragglers may lag behind replicas that are all proven.
	nudgeAfter = 4 * time.Second
)

// gate waits until the step is proven: first by every istiod, for nothing can
// follow before, then by everything else. Proxies that are as expected are not
// read again until none is missing; then all are, once more, together: a gate
// opens on one look at the whole mesh and on nothing less.
func (r *run) gate(ctx context.Context, step Step) error {
	settled := map[string]*proxy.Loaded{}
	deadline := r.deadline
	if soon := r.Clock.Now().Add(prepareWait); step.Phase == Prepare && soon.Before(deadline) {
		deadline = soon
	}
	poll := firstPoll
	var replicasSince, shown time.Time
	var last string
	for look := 0; ; look++ {
		o := Observation{Vouching: r.vouching, Proxies: !replicasSince.IsZero() || step.Phase == Prepare || step.Phase == Done, Settled: settled}
		s, err := r.Observer.Observe(ctx, o)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var status Status
		if err != nil {
			// An API server that restarts is waited for like anything else.
			status = Status{At: r.Clock.Now(), Blockers: []Blocker{{Kind: "reading", Object: "cluster", Why: err.Error(), Unknown: true}}}
		} else {
			expect := step.expect
			if !o.Proxies {
				expect = expect.replicasOnly()
			}
			status = expect.Judge(s, r.Accept)
			r.figures.Proxies = len(s.Proxies)
		}
		switch {
		case status.Open() && !o.Proxies && step.expect.asksMore():
			replicasSince = r.Clock.Now()
			continue
		case status.Open() && len(settled) > 0:
			clear(settled) // all of them, together
			continue
		case status.Open():
			r.emit(Event{Kind: EventPassed, Gate: &status, Message: "proven: " + passed(status)})
			return nil
		}
		if err == nil && o.Proxies {
			keep(settled, s, status)
		}
		if text := closed(status); text != last || r.Clock.Now().Sub(shown) > time.Minute {
			last, shown = text, r.Clock.Now()
			r.emit(Event{Kind: EventGate, Gate: &status, Message: text})
		}
		if !r.Clock.Now().Before(deadline) {
			return &GateError{Phase: step.Phase, Step: step.Name, Status: status, TimedOut: step.Phase != Prepare}
		}
		if o.Proxies && step.nudge != nil && onlyProxies(status) && r.Clock.Now().Sub(replicasSince) > nudgeAfter {
			if err := r.push(ctx, step); err != nil {
				return err
			}
			replicasSince = r.Clock.Now()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.Clock.After(poll):
		}
		if look > closeLooks {
			poll = min(poll+poll/4, r.slowest())
		}
	}
}

// slowest is the longest pause between two looks: for renewals that take hours a
// look a second would be wasted on the API server.
func (r *run) slowest() time.Duration {
	return min(max(r.plan.Cost.LongestWait/100, shortestPause), longestPause)
}

// keep remembers the readings of proxies that are as expected.
func keep(settled map[string]*proxy.Loaded, s *mesh.Snapshot, status Status) {
	blocked := map[string]bool{}
	for _, b := range status.Blockers {
		if b.Kind == "proxy" {
			blocked[b.Object] = true
		}
	}
	clear(settled)
	for _, p := range s.Proxies {
		if p.Loaded != nil && !blocked[p.Ref()] {
			settled[p.UID] = p.Loaded
		}
	}
}

// replicasOnly is the part of an expectation that istiods alone can fulfil.
func (e Expectation) replicasOnly() Expectation {
	e.Trusted, e.Only, e.Leaves, e.Accepted = nil, false, false, nil
	e.unpublished = true
	return e
}

func (e Expectation) asksMore() bool { return e.asksProxies() || e.Roots != nil }

func onlyProxies(s Status) bool {
	for _, b := range s.Blockers {
		if b.Kind != "proxy" || b.Unknown {
			return false
		}
	}
	return len(s.Blockers) > 0
}

func passed(s Status) string {
	return fmt.Sprintf("%d of %d proxies, %d of %d istiods (%s), %d of %d ConfigMaps, %d of %d webhooks",
		s.Proxies.Ready, s.Proxies.Of, s.Replicas.Ready, s.Replicas.Of, s.Evidence, s.ConfigMaps.Ready, s.ConfigMaps.Of, s.Webhooks.Ready, s.Webhooks.Of)
}

func closed(s Status) string {
	text := fmt.Sprintf("%d of %d proxies, %d of %d istiods, %d of %d ConfigMaps, %d of %d webhooks",
		s.Proxies.Ready, s.Proxies.Of, s.Replicas.Ready, s.Replicas.Of, s.ConfigMaps.Ready, s.ConfigMaps.Of, s.Webhooks.Ready, s.Webhooks.Of)
	if len(s.Blockers) > 0 {
		text += "; " + s.Blockers[0].String()
	}
	if more := len(s.Blockers) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}
