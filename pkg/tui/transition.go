package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/bubbles/key"
	"github.com/charmbracelet/bubbles/textinput"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// stage is where in the transition one is.
type stage int

const (
	choosing   stage = iota // the form, or the rotation found under way
	planning                // the plan is being made
	planned                 // it is shown
	confirming              // the cluster's name is asked for
	running
	ended
)

// transition is the step that changes something: a form, the plan, the typed
// confirmation, the rotation live, its result.
type transition struct {
	common
	ctx     context.Context
	backend Backend
	wg      *sync.WaitGroup

	stage   stage
	seen    *Look
	form    *form
	choice  Choice
	plan    *planView
	confirm textinput.Model
	// asked numbers the questions for a plan: an answer to one before is to nobody.
	// plans is theirs to look in, and forget ends it.
	asked    int
	plans    context.Context
	forget   context.CancelFunc
	err      error
	live     *live
	feed     *feed
	cancel   context.CancelFunc
	result   items
	text     string
	saved    string
	finished bool // the proof stands
	failure  error
	// behind is true from a run's end to the look that shows what it has left.
	behind bool
}

func newTransition(ctx context.Context, c common, b Backend, wg *sync.WaitGroup) *transition {
	return &transition{common: c, ctx: ctx, backend: b, wg: wg, confirm: c.input("> "), result: items{common: c}, forget: func() {}}
}

func (p *transition) look(l *Look) {
	p.seen, p.behind = l, false
	if p.form == nil {
		p.form = newForm(p.common, l.Cluster, l.At)
	}
}

// resumes reports whether what comes next carries on a rotation.
func (p *transition) resumes() bool {
	return p.seen != nil && p.seen.Underway != nil && p.seen.Underway.Phase != rotation.Done && p.seen.Underway.Phase != rotation.RolledBack
}

// goesBack reports whether the rotation found is on its way back, or at its end.
func (p *transition) goesBack() bool {
	return p.seen.Underway.Back || p.seen.Underway.Phase == rotation.RolledBack
}

// planMsg is the plan of a choice, or why there is none.
type planMsg struct {
	asked  int
	choice Choice
	plan   *rotation.Plan
	err    error
}

// steeredMsg is what became of an order.
type steeredMsg struct {
	order Order
	err   error
}

// tickMsg moves the clock of a rotation that runs; without one nothing ticks.
type tickMsg struct{}

func tick() tea.Cmd { return tea.Tick(time.Second, func(time.Time) tea.Msg { return tickMsg{} }) }

func (p *transition) update(m tea.Msg) tea.Cmd {
	switch m := m.(type) {
	case planMsg:
		return p.takePlan(m)
	case eventsMsg:
		return p.take(m)
	case steeredMsg:
		p.steered(m)
	case tickMsg:
		if p.stage == running {
			return tick()
		}
	case savedMsg:
		p.saved = m.String()
	case tea.MouseMsg:
		switch p.stage {
		case planned:
			p.plan.update(m)
		case ended:
			p.result.update(m)
		}
	case tea.KeyMsg:
		return p.key(m)
	}
	return nil
}

func (p *transition) key(m tea.KeyMsg) tea.Cmd {
	k := p.bound
	switch p.stage {
	case choosing:
		return p.chooseKey(m)
	case planning:
		if key.Matches(m, k.Back) {
			p.drop()
		}
	case planned:
		switch {
		case key.Matches(m, k.Back):
			p.drop()
		case key.Matches(m, k.Strategy):
			if next, ok := p.plan.another(); ok {
				p.choice.Strategy = next
				p.plan.show(next)
			}
		case key.Matches(m, k.Enter) && p.plan.runnable():
			p.stage = confirming
			p.confirm.SetValue("")
			p.confirm.Focus()
			p.err = nil
		case key.Matches(m, k.Details):
			p.plan.open = !p.plan.open
		default:
			p.plan.move(m, k)
		}
	case confirming:
		switch {
		case key.Matches(m, k.Back):
			p.stage = planned
		case key.Matches(m, k.Enter):
			if strings.TrimSpace(p.confirm.Value()) != p.seen.Cluster {
				p.err = errors.New("that is not the cluster's name: nothing was changed")
				return nil
			}
			return p.start()
		default:
			p.err = nil
			p.confirm, _ = p.confirm.Update(m)
		}
	case running:
		return p.runKey(m)
	case ended:
		switch {
		case key.Matches(m, k.Save):
			name, text := reportName(p.now()), p.text
			p.saved = "Saving: the report needs another look at the mesh."
			return func() tea.Msg {
				path, err := p.backend.Save(p.ctx, name, text)
				return savedMsg{path, err}
			}
		case key.Matches(m, k.Enter) && !p.finished:
			return p.again()
		case key.Matches(m, k.RollBack) && p.changed() && !p.live.back:
			return p.ask(Choice{Resume: true, Back: true, Reason: p.choice.Reason})
		case key.Matches(m, k.Back) && !p.result.open && !p.behind:
			p.leave()
		default:
			p.result.update(m)
		}
	}
	return nil
}

// tabs reports whether a key goes from field to field of the form.
func (p *transition) tabs(m tea.KeyMsg) bool {
	if p.stage != choosing || p.form == nil || p.seen.Underway != nil {
		return false
	}
	return key.Matches(m, p.bound.NextStep) && p.form.tabs(false) || key.Matches(m, p.bound.PrevStep) && p.form.tabs(true)
}

// leave goes from a result to what can be chosen now: what was answered may be why it
// failed, and then the same once more helps nobody.
func (p *transition) leave() {
	p.stage, p.err = choosing, nil
	if p.form != nil {
		p.form.err = nil
	}
}

// reportName is a file's without its ending.
func reportName(at time.Time) string { return "meshca-report-" + at.UTC().Format("20060102-150405") }

// savedMsg is where a result was kept.
type savedMsg struct {
	path string
	err  error
}

func (m savedMsg) String() string {
	switch {
	case m.err == nil:
		return "Saved as " + m.path + "."
	case m.path == "":
		return m.err.Error()
	}
	return "Saved as " + m.path + ", " + m.err.Error()
}

func (p *transition) chooseKey(m tea.KeyMsg) tea.Cmd {
	if p.seen == nil {
		return nil
	}
	if u := p.seen.Underway; u != nil {
		switch {
		case u.Running:
		case key.Matches(m, p.bound.Enter) && p.resumes():
			return p.ask(Choice{Resume: true, Back: u.Back, Strategy: u.Strategy})
		case key.Matches(m, p.bound.RollBack):
			return p.ask(Choice{Resume: true, Back: !p.goesBack(), Strategy: u.Strategy})
		}
		return nil
	}
	if !p.form.update(m) {
		return nil
	}
	choice, err := p.form.choice()
	if p.form.err = err; err != nil {
		return nil
	}
	return p.ask(choice)
}

// ask has a plan made; it only reads.
func (p *transition) ask(c Choice) tea.Cmd {
	p.drop()
	p.plans, p.forget = context.WithCancel(p.ctx)
	p.stage, p.choice, p.err = planning, c, nil
	p.plan = newPlanView(p.common)
	p.plan.back = c.Back
	if u := p.seen.Underway; c.Resume && u != nil {
		if p.plan.stop = stopMeans(u.Strategy, u.Phase); u.Back {
			p.plan.stop = stopMeansBack
		}
	}
	return p.planCmd(c)
}

// drop gives up what was asked: the plans of other strategies, which may take a look
// at a large mesh each, come later than the next choice.
func (p *transition) drop() {
	p.forget()
	p.asked++
	p.stage = choosing
}

func (p *transition) planCmd(c Choice) tea.Cmd {
	ctx, asked, backend := p.plans, p.asked, p.backend
	return func() tea.Msg {
		plan, err := backend.Plan(ctx, c)
		return planMsg{asked, c, plan, err}
	}
}

func (p *transition) takePlan(m planMsg) tea.Cmd {
	if m.asked != p.asked || p.stage != planning && p.stage != planned {
		return nil
	}
	if m.err != nil {
		if p.stage == planning {
			p.stage, p.err = choosing, m.err
			if p.form != nil {
				p.form.err = m.err
			}
		}
		return nil
	}
	first := p.stage == planning
	p.stage = planned
	p.plan.add(m.plan, first)
	if !first || m.choice.Resume {
		return nil
	}
	p.choice.Strategy = m.plan.Strategy
	// What the others would cost, to choose by.
	var more []tea.Cmd
	for _, o := range m.plan.Options {
		if o.Possible && o.Strategy != m.plan.Strategy {
			c := m.choice
			c.Strategy = o.Strategy
			more = append(more, p.planCmd(c))
		}
	}
	return tea.Batch(more...)
}

// again carries on a rotation that has ended before its proof.
func (p *transition) again() tea.Cmd {
	c := p.choice
	p.stage = running
	p.live.paused = false
	return p.run(c)
}

func (p *transition) start() tea.Cmd {
	p.forget() // what other strategies cost is asked no more
	p.stage = running
	p.live = newLive(p.common, p.plan.shown)
	p.live.back, p.finished, p.saved, p.failure = p.choice.Back, false, "", nil
	return p.run(p.choice)
}

func (p *transition) run(c Choice) tea.Cmd {
	ctx, cancel := context.WithCancel(p.ctx)
	f := newFeed()
	p.feed, p.cancel = f, cancel
	backend := p.backend
	p.wg.Go(func() { f.end(backend.Rotate(ctx, c, f.emit)) })
	return tea.Batch(f.next(p.ctx), tick())
}

func (p *transition) take(m eventsMsg) tea.Cmd {
	for _, e := range m.events {
		p.live.take(e)
	}
	if !m.ended {
		return p.feed.next(p.ctx)
	}
	p.cancel()
	p.stage, p.err, p.failure = ended, m.err, m.err
	p.finished, p.behind = m.err == nil, true
	p.text = ticket(p.seen, p.choice, p.live, m.err, p.backend.Command(p.after()), p.now())
	var all []item
	for _, line := range strings.Split(strings.TrimRight(p.text, "\n"), "\n") {
		all = append(all, item{symbol: " ", text: line})
	}
	p.result.set(all)
	return func() tea.Msg { return endedMsg{} }
}

// drain takes what a rotation told after the screen was gone: a write that was under way
// decides what a stop means, and whether there is something to carry on.
func (p *transition) drain() {
	if p.feed == nil {
		return
	}
	m := p.feed.rest()
	for _, e := range m.events {
		p.live.take(e)
	}
	if m.ended && p.stage == running {
		p.stage, p.failure, p.finished = ended, m.err, m.err == nil
	}
}

// endedMsg asks for another look, now that the mesh has changed.
type endedMsg struct{}

// after is the choice that carries this one on from outside the wizard.
func (p *transition) after() Choice {
	c := p.choice
	if p.changed() {
		c = Choice{Resume: true, Back: c.Back, Reason: c.Reason}
	}
	return c
}

// changed reports whether the rotation has kept its CAs in the cluster already.
func (p *transition) changed() bool {
	if p.choice.Resume {
		return true
	}
	if p.live == nil {
		return false
	}
	for _, e := range p.live.events {
		if e.Kind == rotation.EventWrite && strings.HasPrefix(e.Object, "secret ") {
			return true
		}
	}
	return false
}

func (p *transition) typing() bool {
	switch p.stage {
	case choosing:
		return p.form != nil && p.seen.Underway == nil && p.form.typing()
	case confirming:
		return true
	case running:
		return p.live.typing()
	}
	return false
}

func (p *transition) mark() string {
	switch {
	case p.stage == running:
		return symbolHere
	case p.stage == ended && p.finished:
		return symbolGood
	case p.stage == ended:
		return symbolWarn
	case p.resumes():
		return symbolWarn
	case p.seen != nil && p.seen.Underway != nil:
		return symbolGood
	}
	return ""
}

func (p *transition) keys() []key.Binding {
	k := p.bound
	switch p.stage {
	case choosing:
		if p.seen != nil && p.seen.Underway != nil {
			turn := k.RollBack
			if p.seen.Underway.Running {
				return []key.Binding{k.Again, k.NextStep}
			}
			if p.goesBack() {
				turn = named(k.RollBack, "forward again")
			}
			if p.resumes() {
				return []key.Binding{named(k.Enter, "plan and go on"), turn, k.NextStep}
			}
			return []key.Binding{turn, k.NextStep, k.Again}
		}
		field := named(k.NextStep, "next field")
		switch {
		case p.form == nil:
			return []key.Binding{k.NextStep}
		case p.form.typing():
			return []key.Binding{k.Up, field}
		case !p.form.tabs(false):
			return []key.Binding{k.Up, named(k.Enter, "plan"), k.NextStep}
		}
		return []key.Binding{k.Up, k.Change, field}
	case planning:
		return []key.Binding{named(k.Back, "give up")}
	case planned:
		keys := []key.Binding{k.Up, k.Details, k.Back}
		if _, ok := p.plan.another(); ok {
			keys = append(keys, named(k.Strategy, "other strategy"))
		}
		if p.plan.runnable() {
			keys = append(keys, named(k.Enter, "begin"))
		}
		return keys
	case confirming:
		return []key.Binding{named(k.Enter, "begin"), k.Back}
	case running:
		return p.runKeys()
	case ended:
		keys := []key.Binding{k.Up, named(k.Save, "save report"), k.NextStep}
		if !p.finished {
			keys = append(keys, named(k.Enter, "go on"))
		}
		if p.changed() && !p.live.back {
			keys = append(keys, k.RollBack)
		}
		if !p.behind {
			keys = append(keys, k.Back)
		}
		return keys
	}
	return nil
}

// running reports whether a rotation is at work.
func (p *transition) running() bool { return p.stage == running }

// stopText is what a stop here means.
func (p *transition) stopText() string {
	if !p.running() {
		return "No rotation is running: nothing is changed by leaving."
	}
	text := p.live.stopMeans()
	if command := p.backend.Command(p.after()); p.changed() && command != "" {
		text += " It is carried on with: " + command
	}
	return text
}

func (p *transition) facts() []fact {
	switch {
	case p.seen == nil:
		return []fact{{"Now", "Reading the mesh. Nothing is changed."}}
	case p.stage == choosing && p.resumes():
		u := p.seen.Underway
		way, stop, next := "under way", stopMeans(u.Strategy, u.Phase), "enter plans it anew from what is true now and shows the rest of the way; b plans the way back."
		if u.Back {
			way, stop, next = "on its way back", stopMeansBack, "enter plans the rest of the way back from what is true now; b turns it forward again."
		}
		if u.Running {
			return []fact{
				{"Found", fmt.Sprintf("Rotation %s to %s runs now: %s, phase %s, by %s.", u.ID, u.NewRoot, u.Strategy, u.Phase, u.Holder)},
				{"Next", "r looks again; 'kubectl meshca status --watch' follows it. Once nobody runs it, it can be carried on here."}, {"Cost", "Looking only reads."}, {"Stop", "Leaving here stops nothing: it runs elsewhere."},
			}
		}
		return []fact{
			{"Found", fmt.Sprintf("Rotation %s to %s is %s: %s, phase %s, last run by %s.", u.ID, u.NewRoot, way, u.Strategy, u.Phase, u.Holder)},
			{"Next", next}, {"Cost", "Planning only reads."}, {"Stop", stop},
		}
	case p.stage == choosing && p.seen.Underway != nil:
		u := p.seen.Underway
		if p.goesBack() {
			return []fact{
				{"Found", fmt.Sprintf("Rotation %s to %s was rolled back: the old CA is the mesh's alone. The new one is still kept.", u.ID, u.NewRoot)},
				{"Next", "b plans it forward again; 'kubectl meshca retire' destroys that copy, then another can begin."}, {"Cost", "Planning only reads."}, {"Stop", "Nothing is under way."},
			}
		}
		return []fact{
			{"Found", fmt.Sprintf("Rotation %s to %s is done. The old CA is still kept, as the way back.", u.ID, u.NewRoot)},
			{"Next", "b plans the way back. When nobody will go back: 'kubectl meshca retire' destroys that copy; then another rotation can begin."},
			{"Cost", "Planning only reads."}, {"Stop", "Nothing is under way."},
		}
	case p.stage == choosing:
		return []fact{
			{"Found", p.firstEnd()},
			{"Next", "Say which CA comes. The plan follows, and nothing is changed before you have typed the cluster's name."},
			{"Cost", "Planning only reads."}, {"Stop", "Nothing has been changed."},
		}
	case p.stage == planning:
		return []fact{{"Now", "Planning: looking at the mesh once more. Nothing is changed."}}
	case p.stage == planned:
		return p.plan.facts()
	case p.stage == confirming:
		if p.choice.Back {
			return p.plan.facts()
		}
		return []fact{{"Next", p.plan.shown.Summary()}, {"Cost", costOf(p.plan.shown)}, {"Stop", p.plan.stop + " Once it runs, it can be stopped and carried on at any moment."}}
	case p.stage == running:
		return p.live.facts()
	}
	return p.endFacts()
}

func (p *transition) firstEnd() string {
	if len(p.seen.Check.Ends) == 0 {
		return "When the mesh's root ends is not known."
	}
	e := p.seen.Check.Ends[0]
	if e.Days < 0 {
		return fmt.Sprintf("The %s %s ended %s ago, on %s.", e.Role, e.Subject, plural(-e.Days, "day"), day(e.NotAfter))
	}
	return fmt.Sprintf("The %s %s ends in %s, on %s.", e.Role, e.Subject, plural(e.Days, "day"), day(e.NotAfter))
}

func (p *transition) endFacts() []fact {
	next := "Press w to save the report with all evidence; tab shows the proof."
	if p.saved != "" {
		next = p.saved
	}
	if p.finished {
		stop := "Nothing is under way. 'kubectl meshca retire' destroys the old CA's copy when nobody will go back."
		if p.live.back {
			stop = "Nothing is under way. 'kubectl meshca retire' destroys the new CA's copy when nobody will go forward."
		}
		return []fact{{"Found", lastMessage(p.live)}, {"Next", next}, {"Stop", stop}}
	}
	found := "It was stopped."
	if p.err != nil {
		found = p.err.Error()
	}
	facts := []fact{{"Found", found}}
	if hint := hintOf(p.err); hint != "" {
		facts = append(facts, fact{"Hint", hint})
	}
	next = "enter goes on from what is true then."
	if !p.changed() {
		next = "enter tries the same once more, esc goes back to what was chosen."
	}
	return append(facts, fact{"Next", strings.TrimSpace(next + " " + p.saved)}, fact{"Stop", p.live.stopMeans()})
}

func (p *transition) view(width, height int) string {
	switch p.stage {
	case choosing:
		if p.seen == nil || p.seen.Underway != nil {
			if p.err != nil {
				return "  " + strings.Join(wrap(symbolBad+" "+p.err.Error()+" "+hintOf(p.err), width-4, 4), "\n  ")
			}
			return ""
		}
		return p.form.view(width, height)
	case planned:
		return p.plan.view(width, height)
	case confirming:
		lines := []string{""}
		for _, line := range p.sentence("Type the cluster's name", p.seen.Cluster, ", and press enter to begin:", width-4) {
			lines = append(lines, "  "+line)
		}
		p.confirm.Width = max(10, width-6)
		lines = append(lines, "", "  "+p.confirm.View(), "")
		if p.err != nil {
			lines = append(lines, "  "+p.styles.bad.Render(cut(symbolBad+" "+p.err.Error(), width-3)))
		}
		if len(lines) > height {
			lines = ending(slices.DeleteFunc(lines, func(line string) bool { return line == "" }), height)
		}
		return strings.Join(lines, "\n")
	case running:
		return p.live.view(width, height)
	case ended:
		return p.result.view(width, height)
	}
	return ""
}
