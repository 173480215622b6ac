package tui

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/meshca/kubectl-meshca/internal/plain"
)

// The smallest screen that the wizard promises to be whole on. On a smaller one
// it draws what fits.
const (
	leastWidth  = 80
	leastHeight = 24
)

// leastBody are the lines that a page keeps: what is selected or typed, and what that
// means. On a small screen the sentences above it give way.
const leastBody = 5

const (
	stepCheck = iota
	stepVersions
	stepTransition
	stepVerify
	stepEnvoy
)

func stepNames() []string { return []string{"Check", "Versions", "Transition", "Verify", "Envoy"} }

// Wizard is the whole program: it composes what its pages draw, and alone decides
// about looking, leaving and going from step to step.
type Wizard struct {
	common
	ctx        context.Context
	backend    Backend
	wg         *sync.WaitGroup
	pages      []page
	transition *transition
	at         int
	width      int
	height     int

	seen        *Look
	looking     bool
	stale       bool // the look at work began before a run has ended
	done, of    int
	err         error
	progress    chan [2]int
	voice       <-chan string
	said        string // what it told last
	asking      bool   // whether to stop here
	stopping    bool   // asked twice: waiting for the rotation to let go
	help        bool
	interrupted bool
}

func newWizard(ctx context.Context, c common, b Backend) *Wizard {
	w := &Wizard{common: c, ctx: ctx, backend: b, wg: &sync.WaitGroup{}, width: leastWidth, height: leastHeight, progress: make(chan [2]int, 1)}
	w.transition = newTransition(ctx, c, b, w.wg)
	w.pages = []page{newCheckPage(c), newVersionsPage(c), w.transition, newVerifyPage(c), newEnvoyPage(c)}
	return w
}

// lookMsg is the end of a look.
type lookMsg struct {
	look *Look
	err  error
}

// progressMsg tells how many proxies are read.
type progressMsg struct{ done, of int }

// saidMsg is what somebody else would have written on the screen.
type saidMsg string

func (w *Wizard) Init() tea.Cmd { return tea.Batch(w.look(), w.listen(), w.hear()) }

// hear waits for what somebody else says.
func (w *Wizard) hear() tea.Cmd {
	ctx, voice := w.ctx, w.voice
	if voice == nil {
		return nil
	}
	return func() tea.Msg {
		select {
		case text := <-voice:
			return saidMsg(text)
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *Wizard) look() tea.Cmd {
	if w.looking {
		return nil
	}
	w.looking, w.err, w.done, w.of = true, nil, 0, 0
	ctx, backend, progress := w.ctx, w.backend, w.progress
	return func() tea.Msg {
		look, err := backend.Look(ctx, func(done, of int) {
			select { // the newest count; whoever reads proxies never waits
			case progress <- [2]int{done, of}:
			default:
			}
		})
		return lookMsg{look, err}
	}
}

// listen waits for the next count; there is one who listens, for as long as the
// wizard lives.
func (w *Wizard) listen() tea.Cmd {
	ctx, progress := w.ctx, w.progress
	return func() tea.Msg {
		select {
		case p := <-progress:
			return progressMsg{p[0], p[1]}
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *Wizard) Update(m tea.Msg) (tea.Model, tea.Cmd) {
	switch m := m.(type) {
	case tea.WindowSizeMsg:
		w.width, w.height = m.Width, m.Height
	case progressMsg:
		w.done, w.of = m.done, m.of
		return w, w.listen()
	case saidMsg:
		w.said = strings.TrimSpace(string(m))
		return w, w.hear()
	case lookMsg:
		return w, w.took(m)
	case endedMsg:
		if w.stopping {
			return w, tea.Quit
		}
		w.stale = w.looking
		return w, w.look()
	case quitMsg:
		return w, tea.Quit
	case tea.KeyMsg:
		return w, w.key(m)
	case tea.MouseMsg:
		return w, w.page().update(m)
	case planMsg, eventsMsg, steeredMsg, tickMsg, savedMsg:
		return w, w.transition.update(m)
	}
	return w, nil
}

func (w *Wizard) took(m lookMsg) tea.Cmd {
	w.looking, w.err = false, m.err
	if w.stale {
		w.stale = false
		return w.look()
	}
	if m.err != nil {
		return nil
	}
	first := w.seen == nil
	w.seen, w.said = m.look, "" // whoever was to log in has
	for _, p := range w.pages {
		p.look(m.look)
	}
	if first && w.transition.resumes() {
		w.at = stepTransition // what is half done comes first
	}
	return nil
}

func (w *Wizard) page() page { return w.pages[w.at] }

func (w *Wizard) key(m tea.KeyMsg) tea.Cmd {
	k := w.bound
	if key.Matches(m, k.Interrupt) {
		if w.asking || w.stopping {
			return w.stop()
		}
		w.asking, w.help = true, false
		return nil
	}
	if w.asking {
		if m.String() == "y" {
			return w.stop()
		}
		w.asking = false
		return nil
	}
	if w.help {
		w.help = false
		return nil
	}
	if w.said != "" && key.Matches(m, k.Back) {
		w.said = ""
		return nil
	}
	typing := w.page().typing()
	switch {
	case w.at == stepTransition && w.transition.tabs(m):
		return w.transition.update(m)
	case typing && key.Matches(m, k.NextStep, k.PrevStep): // what is typed next would be orders
	case key.Matches(m, k.NextStep):
		w.at = min(w.at+1, len(w.pages)-1)
	case key.Matches(m, k.PrevStep):
		w.at = max(w.at-1, 0)
	case typing:
		return w.page().update(m)
	case key.Matches(m, k.Quit):
		if w.transition.running() {
			w.asking = true
			return nil
		}
		return tea.Quit
	case key.Matches(m, k.Help):
		w.help = true
	case key.Matches(m, k.Jump):
		w.at = int(m.Runes[0] - '1')
	case key.Matches(m, k.Again) && !w.transition.running():
		return w.look()
	default:
		return w.page().update(m)
	}
	return nil
}

// quitMsg ends the program.
type quitMsg struct{}

// stop ends at once; a rotation that runs is cancelled, and lets go of its Lease.
func (w *Wizard) stop() tea.Cmd {
	w.asking = false
	if !w.transition.running() || w.stopping {
		w.interrupted = true
		return tea.Quit
	}
	w.stopping, w.interrupted = true, true
	w.transition.cancel()
	return nil
}

func (w *Wizard) View() string {
	width, height := max(20, w.width), max(8, w.height)
	top, foot := []string{w.head(width), w.steps(width)}, []string{w.foot(width)}
	if height >= leastHeight { // smaller ones have no line for beauty
		top, foot = append(top, w.styles.faint.Render(strings.Repeat("─", width))), append([]string{""}, foot...)
	}
	top = append(top, ending(w.notice(width), height-len(top)-len(foot))...)
	page := w.page()
	if (w.err == nil || w.transition.running()) && !w.help && (w.seen != nil || w.at == stepCheck) {
		top = append(top, w.factsWithin(page.facts(), width, height-len(top)-len(foot)-leastBody)...)
	}
	if height >= leastHeight {
		top = append(top, "")
	}
	room := max(0, height-len(top)-len(foot))
	body := ""
	switch {
	case w.help:
		body = w.allKeys(width, room)
	case w.seen != nil:
		body = page.view(width, room)
	}
	lines := top
	if room > 0 { // nothing is a line too
		lines = append(lines, strings.Split(frame(body, width, room), "\n")...)
	}
	return frame(strings.Join(append(lines, foot...), "\n"), width, height)
}

func (w *Wizard) head(width int) string {
	name, end := "", ""
	if w.seen != nil {
		name = plain.Line(w.seen.Cluster + " / " + w.seen.Namespace)
		if ends := w.seen.Check.Ends; len(ends) > 0 {
			end = fmt.Sprintf("%s ends in %s ", ends[0].Role, plural(ends[0].Days, "day"))
			if ends[0].Days < 0 {
				end = fmt.Sprintf("%s has ended ", ends[0].Role)
			}
		}
	}
	return ends(" "+w.styles.title.Render("meshca")+"  "+name, end, width)
}

func (w *Wizard) steps(width int) string {
	var parts []string
	for i, name := range stepNames() {
		symbol := cmp.Or(w.pages[i].mark(), symbolAhead)
		text := w.styles.paint(symbol, symbol) + " " + name
		if i == w.at {
			text = w.styles.paint(symbol, symbol) + " " + w.styles.title.Render("["+name+"]")
		}
		parts = append(parts, text)
	}
	line := " " + strings.Join(parts, "   ")
	if ansi.StringWidth(line) <= width {
		return line
	}
	for i := range parts {
		if i != w.at {
			parts[i], _, _ = strings.Cut(parts[i], " "+stepNames()[i]) // where one is stays legible
		}
	}
	return ansi.Truncate(" "+strings.Join(parts, " "), width, "")
}

// notice is what stands above everything: a question, a failure, a look at work.
func (w *Wizard) notice(width int) []string {
	var lines []string
	say := func(style func(...string) string, text string) {
		for _, line := range wrap(text, width-2, 4) {
			lines = append(lines, " "+style(line))
		}
	}
	if w.said != "" {
		say(w.styles.warn.Render, symbolWarn+" The kubeconfig's login program says (esc hides it): "+strings.Join(strings.Fields(w.said), " "))
	}
	switch {
	case w.stopping:
		say(w.styles.warn.Render, "Stopping: letting go of the lease. Ctrl-C once more leaves at once.")
	case w.asking:
		say(w.styles.warn.Render, symbolWarn+" Stop here? "+w.transition.stopText())
		say(w.styles.title.Render, "y or Ctrl-C stops, any other key goes on.")
	case w.err != nil && !w.transition.running(): // what runs looks for itself, and r does nothing beside it
		say(w.styles.bad.Render, symbolBad+" "+w.err.Error())
		if hint := hintOf(w.err); hint != "" {
			say(w.styles.title.Render, "hint: "+hint)
		}
		say(w.styles.title.Render, "r looks again, q quits.")
	case w.looking && w.of > 0:
		say(w.styles.faint.Render, fmt.Sprintf("Reading proxies: %d of %d", w.done, w.of))
	case w.looking && w.seen != nil:
		say(w.styles.faint.Render, "Looking again.")
	}
	return lines
}

// foot is the help bar: the page's keys, then the wizard's own.
func (w *Wizard) foot(width int) string {
	last := []key.Binding{w.bound.Help, w.bound.Quit}
	if w.page().typing() {
		last = []key.Binding{w.bound.Interrupt}
	}
	size := func(b key.Binding) int { return ansi.StringWidth(b.Help().Key+" "+b.Help().Desc) + 2 }
	room := width - 1
	for _, b := range last {
		room -= size(b)
	}
	var shown []string
	show := func(b key.Binding) {
		shown = append(shown, w.styles.title.Render(b.Help().Key)+" "+w.styles.faint.Render(b.Help().Desc))
	}
	for _, b := range w.page().keys() {
		if room -= size(b); room < 0 {
			break // ? has all of them
		}
		show(b)
	}
	for _, b := range last {
		show(b)
	}
	return " " + strings.Join(shown, "  ")
}

// allKeys is the page that ? shows, in two columns where one has no room.
func (w *Wizard) allKeys(width, height int) string {
	k := w.bound
	var lines []string
	all := append(w.page().keys(), k.PageUp, k.PageDown, k.Home, k.End, k.NextStep, k.PrevStep, k.Jump, k.Again, k.Quit, k.Interrupt)
	// What means nothing here is not listed: there is no step beyond the first and the last.
	seen := map[string]bool{k.PrevStep.Help().Key: w.at == 0, k.NextStep.Help().Key: w.at == len(w.pages)-1}
	for _, b := range all {
		h := b.Help()
		if !seen[h.Key] {
			lines = append(lines, "  "+fit(h.Key, 12)+h.Desc)
		}
		seen[h.Key] = true
	}
	legend := strings.Join([]string{symbolGood + " good", symbolBad + " wrong", symbolWarn + " attention", symbolUnknown + " unknown", symbolHere + " now", symbolAhead + " ahead"}, "   ")
	if half := (len(lines) + 1) / 2; len(lines)+2 > height {
		for i, second := range lines[half:] {
			lines[i] = fit(lines[i], width/2) + second
		}
		lines = lines[:half]
	}
	if len(lines)+2 > height {
		return strings.Join(lines, "\n")
	}
	return strings.Join(append([]string{"  " + legend, ""}, lines...), "\n")
}
