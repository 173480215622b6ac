package rotation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
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
	// lateness is which part of the time that it took a gate may open late, up to
	// longestPause: what has not come for minutes is not looked for twice a second.
	lateness = 20
	// prepareWait is how long a mesh that nothing has been changed in may take to
	// be whole: a pod that starts, a rollout that ends.
	prepareWait = 30 * time.Second
	// nudgeAfter is how long stragglers may lag behind replicas that are all proven.
	// It doubles with each nudge of a gate: every one has the whole mesh ask for new
	// certificates, and whom the first few do not reach is not helped by more.
	nudgeAfter   = 4 * time.Second
	nudgeDoubles = 8
)

// gate waits until the step is proven: first by every istiod, for nothing can
// follow before, then by everything else. Proxies that are as expected are not
// read again until none is missing, and of those that lag a handful is, until one
// of them has followed; then all are, once more, together: a gate opens on one look
// at the whole mesh and on nothing less.
func (r *run) gate(ctx context.Context, step Step) error {
	seen := newLooks()
	poll := firstPoll
	var replicasSince, shown, open time.Time
	began := r.Clock.Now()
	var last string
	r.nudges, r.memo = 0, pki.NewMemo()
	for look := 0; ; look++ {
		o := Observation{Vouching: r.vouching, Proxies: !replicasSince.IsZero() || step.Name == beginning || step.Phase == Done,
			Unread: r.Baseline <= 0 && !step.expect.asksProxies()}
		o.Counters = r.Baseline > 0 && step.Name != beginning && o.Proxies && seen.none()
		partly := false
		if o.Proxies && !o.Counters {
			o.Settled, partly = seen.known(r.Clock.Now(), poll)
		}
		o.Nodes = o.Proxies && (seen.none() || seen.silent)
		s, err := r.Observer.Observe(ctx, o)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if s != nil {
			r.skew = time.Duration(s.ClockSkew)
		}
		var status Status
		if err != nil {
			// An API server that restarts is waited for like anything else.
			status = Status{At: r.Clock.Now(), Blockers: []Blocker{{Kind: "reading", Object: "cluster", Why: err.Error(), Unknown: true}}}
		} else if status, err = r.judge(ctx, step, o, s); err != nil {
			return err
		}
		switch {
		case status.Open() && !o.Proxies && step.expect.asksMore():
			// Proxies follow within a second, however long istiods took.
			replicasSince, began, poll, look = r.Clock.Now(), r.Clock.Now(), firstPoll, 0
			r.loadedAt = replicasSince
			continue
		case status.Open() && !seen.none():
			seen.forget() // all of them, together
			continue
		case status.Open():
			if open.IsZero() {
				open = r.Clock.Now()
			}
			soaked := r.Clock.Now().Sub(open)
			if why := r.watch(o, s); why != "" {
				open = time.Time{}
				status.Blockers = append(status.Blockers, Blocker{Kind: "traffic", Object: "failures", Why: why})
				break
			}
			if soaked >= r.Soak || step.Name == beginning {
				r.rest(soaked)
				r.at, r.unseen = s.ClusterTime(), unseen(status.Accepted)
				r.takes(status)
				r.pushed = allPushed(s, r.unseen)
				event := Event{Kind: EventPassed, Gate: &status, Message: "proven: " + passed(status)}
				if o.Counters {
					verdict := r.traffic.Verdict()
					event.Traffic, event.Message = &verdict, event.Message+"; traffic: "+verdict.String()
				}
				r.emit(event)
				return nil
			}
		default:
			open = time.Time{}
			if s != nil && o.Proxies {
				seen.keep(s, status)
			}
		}
		if text := closed(status); text != last || r.Clock.Now().Sub(shown) > time.Minute {
			last, shown = text, r.Clock.Now()
			if !open.IsZero() {
				text = "open, and looked at again for " + r.Soak.String() + ": " + text
			}
			r.emit(Event{Kind: EventGate, Gate: &status, Message: text})
		}
		if open.IsZero() && r.over(r.until(step, status)) {
			if partly {
				seen.moved = true // the last word is on all of them
				continue
			}
			return &GateError{Phase: step.Phase, Step: step.Name, Status: status, TimedOut: step.Name != beginning || onlyReadings(status)}
		}
		if s != nil {
			r.hurryAgain(ctx)
		}
		if o.Proxies && open.IsZero() && s != nil && !partly {
			waits := pushable(s, status)
			if waits < seen.waits {
				replicasSince = r.Clock.Now() // they follow: nobody needs to be hurried
			}
			seen.waits = waits
			acted, err := r.hurry(ctx, step, s, status, waits, replicasSince)
			if err != nil {
				return err
			}
			if acted {
				replicasSince = r.Clock.Now()
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case c, more := <-r.commands:
			r.take(c, more)
		case <-r.Clock.After(r.patience(poll, open, r.until(step, status))):
		}
		if look > closeLooks {
			poll = min(poll+poll/4, r.slowest(r.Clock.Now().Sub(began)))
		}
	}
}

// patience is how long nobody looks at a gate that does not pass yet, where no command
// comes: no longer than until what is known of it would end, which is its soak where it
// is open since then, and its own time where it is closed and no pause stops that.
func (r *run) patience(poll time.Duration, open, until time.Time) time.Duration {
	switch {
	case !open.IsZero():
		until = open.Add(r.Soak)
	case r.held:
		return poll
	}
	return min(poll, max(until.Sub(r.Clock.Now()), firstPoll))
}

// until is when a gate is given up. What an API server that is away does not show is
// waited for like anything later: it says nothing of the mesh.
func (r *run) until(step Step, status Status) time.Time {
	if step.Name != beginning {
		return r.deadline
	}
	if onlyReadings(status) {
		r.prepared = time.Time{}
		return r.deadline
	}
	if r.prepared.IsZero() {
		r.prepared = r.Clock.Now().Add(prepareWait)
	}
	if r.prepared.Before(r.deadline) {
		return r.prepared
	}
	return r.deadline
}

// judge holds one look against a step.
func (r *run) judge(ctx context.Context, step Step, o Observation, s *mesh.Snapshot) (Status, error) {
	expect := step.expect
	expect.nodes, expect.unserved = r.plan.nodes, r.plan.unserved
	if step.always {
		expect.former = r.journal.state.Replaced[step.key()]
	}
	if step.dated() {
		expect.fresh, expect.files, expect.freshSince = step.fresh, step.files, r.journal.state.Published[step.key()]
	}
	if !o.Proxies {
		expect = expect.replicasOnly()
	}
	status := r.known(s, expect.judge(s, r.accept, r.memo))
	if !o.Proxies {
		return status, nil
	}
	r.figures.Proxies = len(s.Proxies)
	if !step.dated() && step.Waves == "" || !out(status, expect) {
		return status, nil
	}
	if _, known := r.journal.state.Published[step.key()]; known {
		return status, nil
	}
	// From here on whoever starts has what this step hands out, and finds its roots in
	// the trust file.
	remember(&r.journal.state.Published, step, s.ClusterTime().Truncate(time.Second))
	if err := r.save(ctx); err != nil {
		return status, err
	}
	if step.dated() {
		expect.freshSince = r.journal.state.Published[step.key()]
		status = r.known(s, expect.judge(s, r.accept, r.memo))
	}
	return status, nil
}

// out reports whether every istiod hands out what is expected, and has published it; a
// Citadel publishes in the Secrets of workloads. What was accepted unseen is taken for done.
func out(status Status, expect Expectation) bool {
	published := status.ConfigMaps.Of > 0 || expect.Roots == nil
	if expect.Citadel {
		published = status.Secrets.Of > 0
	}
	return status.Replicas.Of > 0 && published && !slices.ContainsFunc(status.Blockers, func(b Blocker) bool {
		return b.Kind == "istiod" || b.Kind == "secret" || b.Kind == "configmap" && expect.Roots != nil && !expect.Citadel
	})
}

// hurry does what a step may do for those that lag behind istiods that are all
// proven: the same roots once more, or a restart of their workloads.
// A push is for the waits whom it reaches, and only while nobody follows without it: it
// has the whole mesh ask for certificates.
func (r *run) hurry(ctx context.Context, step Step, s *mesh.Snapshot, status Status, waits int, replicasSince time.Time) (bool, error) {
	if r.held || !proxiesAlone(status) {
		return false, nil
	}
	known := !slices.ContainsFunc(status.Blockers, func(b Blocker) bool { return b.Unknown })
	// Where a CA has ended, whoever cannot be read holds up nobody else.
	if step.Waves != "" && (known || r.plan.Strategy == Recover) {
		// That a step was published, and when a pod was made, is known in whole seconds: a restart
		// in the same one could not be told from one of before, and would be made twice.
		same := r.cluster().Now().Truncate(time.Second).Equal(r.journal.state.Published[step.key()])
		settled := !step.Restart || r.plan.Strategy == Recover || r.Clock.Now().Sub(r.loadedAt) >= reconnect
		if behind := step.behind(s, status); len(behind) > 0 && !same && settled && r.round(step).due(r.Clock.Now()) {
			return r.waves(ctx, step, behind)
		}
	}
	if known && step.nudge != nil && waits > 0 && r.Clock.Now().Sub(replicasSince) > nudgeAfter<<min(r.nudges, nudgeDoubles) {
		r.nudges++
		return true, r.push(ctx, step)
	}
	return false, nil
}

// reconnect is how long after a restart of istiods no workload is replaced: an istiod that
// ends keeps its streams for ten seconds and pushes nothing on them, and Envoy comes back
// after at most thirty (envoy 1.40 api/envoy/config/core/v3/grpc_service.proto, retry_policy).
// Who has not come back does not learn where the new pods are, and calls those that are gone.
// Where a CA has ended there is nothing to lose by it.
const reconnect = 40 * time.Second

// pushable is how many a gate waits for of those who follow a push.
func pushable(s *mesh.Snapshot, status Status) int {
	n, blocked := 0, status.blocked()
	for _, p := range s.Proxies {
		if p.Reach == mesh.ReachPush && blocked[p.Ref()] {
			n++
		}
	}
	return n
}

// blocked are the proxies that keep a gate closed, by name.
func (s Status) blocked() map[string]bool {
	blocked := map[string]bool{}
	for _, b := range s.Blockers {
		if b.Kind == "proxy" {
			blocked[b.Object] = true
		}
	}
	return blocked
}

// behind are the proxies that a step restarts: those that its gate waits for and
// that no push reaches. Of those of whom nothing is known it is who has no certificate and
// cannot get one, for his agent reads its roots at its start alone.
func (s Step) behind(m *mesh.Snapshot, status Status) []mesh.Proxy {
	blocked, unknown := status.blocked(), map[string]bool{}
	for _, b := range status.Blockers {
		unknown[b.Object] = unknown[b.Object] || b.Unknown
	}
	return slices.DeleteFunc(s.restarted(m.Proxies), func(p mesh.Proxy) bool {
		bare := p.Loaded != nil && len(p.Loaded.Identities) == 0 && stale(p)
		return !blocked[p.Ref()] || unknown[p.Ref()] && !bare
	})
}

// restarted are those of the proxies that the step's waves restart where its gate waits
// for them.
func (s Step) restarted(proxies []mesh.Proxy) []mesh.Proxy {
	return slices.DeleteFunc(slices.Clone(proxies), func(p mesh.Proxy) bool {
		switch s.Waves {
		case wavesMounted:
			return p.Reach != mesh.ReachRestart
		case wavesBehind:
			return false
		case wavesLagging:
			return !s.unpushed && p.Reach == mesh.ReachPush && !stale(p)
		}
		return !stale(p)
	})
}

// unseen are the accepted blockers that may hide a leaf.
func unseen(accepted []Blocker) []Blocker {
	return slices.DeleteFunc(slices.Clone(accepted), func(b Blocker) bool { return b.Kind != "proxy" && b.Kind != "vm" })
}

// slowest is the longest pause between two looks at a gate that has been waited at for
// so long: for renewals that take hours a look a second would be wasted on the API
// server, and so it would be on a proxy that has been missing for minutes.
func (r *run) slowest(waited time.Duration) time.Duration {
	return min(max(r.plan.Cost.LongestWait/100, waited/lateness, shortestPause), longestPause)
}

// replicasOnly is the part of an expectation that istiods alone can fulfil.
func (e Expectation) replicasOnly() Expectation {
	e.Trusted, e.Only, e.Leaves, e.Accepted, e.InForce = nil, false, false, nil, nil
	e.unpublished = true
	return e
}

func (e Expectation) asksMore() bool { return e.asksProxies() || e.Roots != nil }

// proxiesAlone reports whether nothing but proxies is in the way, and whatever keeps them can
// be helped from here.
func proxiesAlone(s Status) bool {
	for _, b := range s.Blockers {
		if b.Kind != "proxy" || b.ByCRL { // no push and no restart takes a CRL away
			return false
		}
	}
	return len(s.Blockers) > 0
}

// onlyReadings reports whether nothing but what could not be read is in the way.
func onlyReadings(s Status) bool {
	return len(s.Blockers) > 0 && !slices.ContainsFunc(s.Blockers, func(b Blocker) bool { return b.Kind != "reading" })
}

// Counts says how many of each kind are proven. What was not looked at, because istiods
// come first, is left out: none of none tells nobody anything.
func (s Status) Counts() string {
	proxies := fmt.Sprintf("%d of %d proxies", s.Proxies.Ready, s.Proxies.Of)
	if s.Listed {
		proxies = fmt.Sprintf("%d proxies listed and none asked", s.Proxies.Of)
	}
	evidence := ""
	if s.Evidence != "" {
		evidence = " (" + s.Evidence + ")"
	}
	if s.Secrets.Of > 0 && s.ConfigMaps.Of == 0 { // no istiod beside it publishes any
		return fmt.Sprintf("%s, %d of %d Citadels%s, %d of %d of its Secrets", proxies, s.Replicas.Ready, s.Replicas.Of, evidence, s.Secrets.Ready, s.Secrets.Of)
	}
	text := fmt.Sprintf("%d of %d istiods%s", s.Replicas.Ready, s.Replicas.Of, evidence)
	if !s.Listed || s.Proxies.Of > 0 {
		text = proxies + ", " + text
	}
	if s.ConfigMaps.Of > 0 {
		text += fmt.Sprintf(", %d of %d ConfigMaps", s.ConfigMaps.Ready, s.ConfigMaps.Of)
	}
	if s.Webhooks.Of > 0 {
		text += fmt.Sprintf(", %d of %d webhooks", s.Webhooks.Ready, s.Webhooks.Of)
	}
	if s.Secrets.Of > 0 {
		text += fmt.Sprintf(", %d of %d Secrets of Citadel's", s.Secrets.Ready, s.Secrets.Of)
	}
	return text
}

// Proves is what a look at a whole mesh proves when nothing is in the way; judged is
// true where proxies told their certificates, so that each could be held against each.
func (s Status) Proves(judged bool) string {
	switch {
	case judged:
		return "every live certificate is accepted by every live proxy"
	case s.Secrets.Of > 0: // of a certificate from a file Envoy tells the serial number alone
		return "every Secret of a workload has a certificate of the root, and every proxy has loaded its own"
	case s.Replicas.Of == 0:
		return "what is published here holds these roots; no istiod was asked, and there is no live proxy"
	}
	return "the control plane has followed, and there is no live proxy"
}

// passed is what is said of a gate that opens, and over whom.
func passed(s Status) string {
	text := s.Counts()
	for i, b := range s.Accepted {
		if i == mostNamed {
			return text + fmt.Sprintf("; and %d more", len(s.Accepted)-mostNamed)
		}
		text += "; accepted unseen: " + b.String()
	}
	return text
}

// mostNamed is how many of the accepted are named in one message.
const mostNamed = 5

func closed(s Status) string {
	s.Evidence = "" // it is of those that are proven
	text := s.Counts()
	if len(s.Blockers) > 0 {
		text += "; " + s.Blockers[0].String()
	}
	if more := len(s.Blockers) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}
