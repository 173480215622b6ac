package tui

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/meshca/kubectl-meshca/internal/plain"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// What follows lets an operator order a rotation that runs: pause and go on with one
// key, an unknown accepted with a reason, the way back with the cluster's name.

func (p *transition) runKey(m tea.KeyMsg) tea.Cmd {
	k, l := p.bound, p.live
	if l.typing() {
		return p.typed(m)
	}
	l.note = ""
	switch {
	case key.Matches(m, k.Pause) && l.paused:
		return p.order(Order{Act: Resume})
	case key.Matches(m, k.Pause):
		return p.order(Order{Act: Pause})
	case key.Matches(m, k.RollBack):
		l.note, l.cluster = p.mayTurn(), p.seen.Cluster
		if l.turning = l.note == ""; l.turning {
			l.ask()
		}
	case key.Matches(m, k.Accept):
		if l.note = mayAccept(l.selected()); l.note == "" {
			l.accepting = l.selected().Object
			l.ask()
		}
	case key.Matches(m, k.Enter):
		l.open = !l.open && l.selected() != nil
	default:
		l.move(m, k)
	}
	return nil
}

// typed takes a key of an answer.
func (p *transition) typed(m tea.KeyMsg) tea.Cmd {
	k, l := p.bound, p.live
	text := strings.TrimSpace(l.reason.Value())
	switch {
	case key.Matches(m, k.Back):
		l.accepting, l.turning, l.note = "", false, ""
	case !key.Matches(m, k.Enter):
		l.note = ""
		l.reason, _ = l.reason.Update(m)
	case l.turning && text != p.seen.Cluster:
		l.note = "that is not the cluster's name: nothing was ordered"
	case l.turning:
		l.turning = false
		return p.order(Order{Act: RollBack})
	case text != "":
		object := l.accepting
		l.accepting = ""
		return p.order(Order{Act: Accept, Object: object, Reason: plain.Line(text)})
	}
	return nil
}

func (p *transition) order(o Order) tea.Cmd {
	p.live.note = fmt.Sprintf("%s: asked for; it is taken up at the next look or write.", o.Act)
	ctx, backend := p.ctx, p.backend
	return func() tea.Msg { return steeredMsg{o, backend.Steer(ctx, o)} }
}

// steered is what became of an order.
func (p *transition) steered(m steeredMsg) {
	switch {
	case m.err != nil:
		p.live.note = string(m.order.Act) + ": " + m.err.Error()
		if hint := hintOf(m.err); hint != "" {
			p.live.note += " (" + hint + ")"
		}
	case m.order.Act == RollBack:
		p.live.turn()
		p.live.note = ""
		p.choice = Choice{Resume: true, Back: true, Reason: p.choice.Reason}
	}
}

// mayTurn says why a rotation cannot be rolled back, "" where it can.
func (p *transition) mayTurn() string {
	switch {
	case p.live.back:
		return "It is on its way back already."
	case !p.changed():
		return "Nothing has been changed yet: there is nothing to go back from. q stops."
	}
	return ""
}

// mayAccept says why something in the way cannot be accepted, "" where it can.
func mayAccept(b *rotation.Blocker) string {
	switch {
	case b == nil:
		return "Nothing is in the way: there is nothing to accept."
	case !b.Unknown:
		return b.Object + " was seen to be wrong: only what is unknown can be accepted."
	case !b.Acceptable():
		return b.Object + " is no single object: whoever is missing there has no name that could be accepted."
	}
	return ""
}

func (p *transition) runKeys() []key.Binding {
	k, l := p.bound, p.live
	switch {
	case l.turning:
		return []key.Binding{named(k.Enter, "roll back"), k.Back}
	case l.typing():
		return []key.Binding{named(k.Enter, "accept"), k.Back}
	}
	pause := k.Pause
	if l.paused {
		pause = named(pause, "go on")
	}
	keys := []key.Binding{pause}
	if l.selected() != nil {
		keys = []key.Binding{k.Up, k.Enter, pause}
	}
	if mayAccept(l.selected()) == "" {
		keys = append(keys, k.Accept)
	}
	if p.mayTurn() == "" { // elsewhere they say why not, and are not offered
		keys = append(keys, k.RollBack)
	}
	return append(keys, k.NextStep)
}

// typing while a reason or a name is asked for.
func (l *live) typing() bool { return l.accepting != "" || l.turning }

func (l *live) ask() {
	l.reason.SetValue("")
	l.reason.Focus()
}

// question is what is asked, and what was typed.
func (l *live) question(width int) []string {
	l.reason.Width = max(10, width-4)
	text := "Accept " + l.accepting + " as unknown? Your reason goes into the journal:"
	if most := l.plan.LeafLife(); most > 0 {
		text = "Accept " + l.accepting + " as unknown? Before a root is taken away, its certificate of now must have ended: a wait of up to " + span(most) + ". Your reason goes into the journal:"
	}
	if l.turning {
		text = "Roll back: " + wayBack(l.plan) + ", each proven on every live proxy."
	}
	lines := []string{""}
	for _, line := range wrap(text, width-2, 4) {
		lines = append(lines, " "+l.styles.title.Render(line))
	}
	if l.turning {
		for _, line := range l.sentence("To confirm, type the cluster's name", l.cluster, ":", width-2) {
			lines = append(lines, " "+line)
		}
	}
	lines = append(lines, " > "+l.reason.View())
	if l.note != "" {
		lines = append(lines, " "+l.styles.bad.Render(cut(symbolBad+" "+l.note, width-2)))
	}
	return lines
}

// wayBack names the phases of the way back.
func wayBack(p *rotation.Plan) string {
	var phases []string
	steps := p.Back
	if p.GoesBack() {
		steps = steps[min(p.Written(), len(steps)):]
	}
	for _, step := range steps {
		if name := string(step.Phase); len(phases) == 0 || phases[len(phases)-1] != name {
			phases = append(phases, name)
		}
	}
	if len(phases) == 0 {
		return "phase by phase"
	}
	return "over " + strings.Join(phases, ", ")
}
