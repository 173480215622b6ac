package tui

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/internal/plain"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

const plainOrders = "While it runs, each with Enter: ? what is in the way, p pause, g go on, a accept what is unknown, b roll back, q stop."

// plainRun is a rotation that is told line by line, and takes orders.
type plainRun struct {
	*talk
	p      *transition
	events chan rotation.Event
	ended  chan error
	stop   context.CancelFunc
	// answer takes the next line where a question is open; nil where it is an order.
	answer func(string)
	last   *rotation.Status
}

// run tells what happens, a line each; a gate is told when its counts change.
func (t *talk) run(p *transition, plan *rotation.Plan) error {
	p.live = newLive(t.common, plan)
	p.live.back, p.stage = p.choice.Back, running
	ctx, stop := context.WithCancel(t.ctx)
	defer stop()
	r := &plainRun{talk: t, p: p, events: make(chan rotation.Event), ended: make(chan error, 1), stop: stop}
	t.say(plainOrders)
	go func() {
		r.ended <- t.backend.Rotate(ctx, p.choice, func(e rotation.Event) { r.events <- e })
	}()
	err := r.follow()
	p.stage, p.finished = ended, err == nil
	command := t.backend.Command(p.after())
	text := ticket(p.seen, p.choice, p.live, err, command, t.now())
	t.say("\n%s", text)
	if t.ctx.Err() == nil {
		t.save(text)
	}
	if err == nil {
		return nil
	}
	t.outcome.Err, t.outcome.Means = err, p.live.stopMeans()
	if p.changed() {
		t.outcome.Resume = command
	}
	return errLeft
}

// follow tells Events and takes orders until the rotation has ended.
func (r *plainRun) follow() error {
	lines := r.lines.next()
	for {
		select {
		case e := <-r.events:
			r.tell(e)
		case err := <-r.ended:
			return err
		case m := <-lines:
			text, err := r.lines.take(m)
			if err != nil {
				lines = nil // nobody types any more; whoever loses the terminal stops it
				continue
			}
			r.typed(text)
			lines = r.lines.next()
		}
	}
}

func (r *plainRun) tell(e rotation.Event) {
	r.p.live.take(e)
	if e.Gate != nil {
		r.last = e.Gate
	}
	switch e.Kind {
	case rotation.EventPlan:
	case KindTraffic:
	case rotation.EventPhase:
		at, of := r.p.live.position()
		r.say("%s Phase %d of %d, %s: %s\n  Stop: %s", e.Time.Format(time.TimeOnly), at, of, e.Phase, plain.Line(e.Message), r.p.live.stopMeans())
	case rotation.EventPaused, rotation.EventResumed, rotation.EventAccepted:
		r.say("%s %s", e.Time.Format(time.TimeOnly), plain.Line(e.Message))
	default:
		r.say("%s %s %s: %s", e.Time.Format(time.TimeOnly), e.Phase, e.Kind, plain.Line(strings.TrimPrefix(e.Object+": "+e.Message, ": ")))
	}
}

func (r *plainRun) typed(text string) {
	if answer := r.answer; answer != nil {
		r.answer = nil
		answer(text)
		return
	}
	switch text {
	case "":
	case "?":
		r.status()
	case "p":
		r.order(Order{Act: Pause})
	case "g":
		r.order(Order{Act: Resume})
	case "a":
		r.accept()
	case "b":
		r.rollBack()
	case "q":
		r.say("Stop here? %s y stops, anything else goes on:", plain.Line(r.p.stopText()))
		r.answer = func(text string) {
			if text == "y" {
				r.stop()
			}
		}
	default:
		r.say(plainOrders)
	}
}

// status says what the screen shows.
func (r *plainRun) status() {
	for _, f := range r.p.live.facts() {
		r.say("%s: %s", f.label, plain.Line(r.p.named(f.text)))
	}
	if r.p.live.traffic != nil {
		r.say("Counted %s", r.p.live.counters())
	}
	if r.last == nil {
		return
	}
	if r.last.Listed {
		r.say("This step asks nothing of proxies.")
	}
	r.say("Proxies %d of %d, istiods %d of %d, ConfigMaps %d of %d, webhooks %d of %d.", r.last.Proxies.Ready, r.last.Proxies.Of, r.last.Replicas.Ready, r.last.Replicas.Of,
		r.last.ConfigMaps.Ready, r.last.ConfigMaps.Of, r.last.Webhooks.Ready, r.last.Webhooks.Of)
	for i, b := range r.last.Blockers {
		kind := "wrong"
		if b.Unknown {
			kind = "unknown"
		}
		r.say("  %d %s: %s", i+1, kind, plain.Line(b.String()))
	}
}

// accept asks which unknown, and why.
func (r *plainRun) accept() {
	r.status()
	r.say("Accept which number? Enter for none:")
	r.answer = func(text string) {
		n, err := strconv.Atoi(text)
		if text == "" || r.last == nil || err != nil || n < 1 || n > len(r.last.Blockers) {
			r.say("Nothing was accepted.")
			return
		}
		blocker := r.last.Blockers[n-1]
		if why := mayAccept(&blocker); why != "" {
			r.say("%s", plain.Line(why))
			return
		}
		r.say("Your reason, for the journal, to let %s stay unknown:", plain.Line(blocker.Object))
		r.answer = func(reason string) {
			if reason == "" {
				r.say("Nothing was accepted.")
				return
			}
			r.order(Order{Act: Accept, Object: blocker.Object, Reason: plain.Line(reason)})
		}
	}
}

// rollBack asks for the cluster's name.
func (r *plainRun) rollBack() {
	if why := r.p.mayTurn(); why != "" {
		r.say("%s", why)
		return
	}
	r.say("Roll back: %s, each proven on every live proxy. To confirm, type the cluster's name, %s:", wayBack(r.p.live.plan), plain.Line(r.p.seen.Cluster))
	r.answer = func(text string) {
		if text != r.p.seen.Cluster {
			r.say("That is not the cluster's name: nothing was ordered.")
			return
		}
		r.order(Order{Act: RollBack})
	}
}

// order sends one while Events go on: whoever refuses it may need a look at the mesh.
func (r *plainRun) order(o Order) {
	sent := make(chan error, 1)
	go func() { sent <- r.backend.Steer(r.ctx, o) }()
	for {
		select {
		case e := <-r.events:
			r.tell(e)
		case err := <-sent:
			r.p.live.note = ""
			r.p.steered(steeredMsg{o, err})
			if err != nil {
				r.say("%s", plain.Line(r.p.live.note))
			}
			return
		}
	}
}

// save offers the report.
func (t *talk) save(text string) {
	answer, err := t.ask("\nw saves the report, Enter goes on:")
	if err != nil || answer != "w" {
		return
	}
	path, err := t.backend.Save(t.ctx, reportName(t.now()), text)
	t.say("%s", plain.Line(savedMsg{path, err}.String()))
}
