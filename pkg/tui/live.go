package tui

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/bubbles/textinput"
	"github.com/meshca/kubectl-meshca/internal/plain"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/rotation/traffic"
)

// live is a rotation as it runs: an observer of its Events.
type live struct {
	common
	list
	plan   *rotation.Plan
	events []rotation.Event // all but the looks at closed gates
	status *rotation.Status
	phase  rotation.Phase
	step   string
	about  string
	// wrote is true where something of the phase is written, or proven; stood is the
	// phase that was proven before it.
	wrote bool
	stood rotation.Phase
	// began, entered and ended are by the Events' own clock.
	began, entered, last time.Time
	traffic              *traffic.Verdict
	// ready is how many proxies were as they should be, and moved since when.
	ready   int
	moved   time.Time
	waiting string
	until   time.Time // when that ends, where it is known
	open    bool      // the selected blocker in full
	paused  bool
	// back is true on the way back.
	back      bool
	reason    textinput.Model
	accepting string
	turning   bool // the cluster's name is asked for, to roll back
	cluster   string
	note      string
}

func newLive(c common, plan *rotation.Plan) *live {
	return &live{common: c, plan: plan, began: c.now(), entered: c.now(), phase: rotation.Prepare, reason: c.input("")}
}

func (l *live) take(e rotation.Event) {
	if e.Kind == KindTraffic {
		l.traffic = e.Traffic
		return
	}
	if l.last.IsZero() {
		l.began = e.Time
	}
	l.last = e.Time
	if e.Phase != "" && (e.Phase != l.phase || e.Step != l.step && e.Step != "") {
		if e.Phase != l.phase {
			l.wrote = false
		}
		l.phase, l.step, l.entered, l.waiting = e.Phase, e.Step, e.Time, ""
	}
	if e.Gate != nil {
		l.status = e.Gate
		if e.Gate.Proxies.Ready != l.ready {
			l.ready, l.moved = e.Gate.Proxies.Ready, e.Time
		}
		l.resize(len(e.Gate.Blockers), l.height)
	}
	switch e.Kind {
	case rotation.EventGate:
		return
	case rotation.EventPhase:
		l.about, l.entered, l.status, l.waiting = e.Message, e.Time, nil, ""
	case rotation.EventWait:
		l.waiting, l.until = e.Message, e.Until
	case rotation.EventPlan:
		l.plan, l.paused = e.Plan, false
		return
	case rotation.EventWrite, rotation.EventRestart:
		l.wrote = true
	case rotation.EventPassed:
		l.wrote, l.stood = true, e.Phase
	case rotation.EventPaused:
		l.paused, l.note = true, ""
	case rotation.EventResumed:
		l.paused, l.note = false, ""
	case rotation.EventAccepted:
		l.note = ""
	}
	l.events = append(l.events, e)
}

// turn begins the way back: what was seen of the way there is no progress on it.
func (l *live) turn() {
	l.back, l.turning, l.paused = true, false, false
	l.phase, l.step, l.about, l.waiting, l.status, l.stood = "", "", "", "", nil, ""
}

func (l *live) facts() []fact {
	at, of := l.position()
	where := fmt.Sprintf("phase %d of %d, %s", at, of, l.phase)
	if l.back {
		where = fmt.Sprintf("way back, phase %d of %d, %s", at, of, l.phase)
	}
	now := strings.ToUpper(where[:1]) + where[1:] + ": " + cmp.Or(l.about, "getting ready")
	switch {
	case at == 0 && l.back:
		now = "Going back: looking at the mesh, and planning from what is true now"
	case at == 0:
		now = "Getting ready"
	}
	if !strings.HasSuffix(now, "?") {
		now += "."
	}
	if l.paused {
		now = "Paused in " + where + ": nothing is written, gates are looked at. p goes on."
	}
	if l.waiting != "" {
		now += " Waiting " + l.waiting + "."
	}
	return []fact{{"Now", now}, {"Stop", l.stopMeans()}, {"Time", l.time()}}
}

// stopMeans is what a stop means now.
func (l *live) stopMeans() string {
	switch {
	case l.phase == rotation.RolledBack:
	case l.back:
		return stopMeansBack
	case l.phase == rotation.Prepare || l.phase == "" || l.wrote:
	case l.stood != "":
		return "Nothing of this phase is written yet. " + stopMeans(l.plan.Strategy, l.stood)
	default:
		return stopMeansBetween
	}
	return stopMeans(l.plan.Strategy, l.phase)
}

// position is the phase's number; prepare and done are counted too, as one can stop
// in either.
func (l *live) position() (at, of int) {
	phases := l.plan.Phases()
	if l.back {
		phases = append(phases, rotation.RolledBack)
	}
	return slices.Index(phases, l.phase) + 1, len(phases)
}

func (l *live) time() string {
	now := l.now()
	text := clock(now.Sub(l.began)) + " so far, " + clock(now.Sub(l.entered)) + " in this phase"
	if left := l.until.Sub(now); l.waiting != "" && left > 0 {
		return text + "; " + clock(left) + " of this wait left"
	}
	if still := now.Sub(l.moved); !l.moved.IsZero() && still > stall && l.status != nil && !l.status.Open() {
		return text + "; no proxy has followed for " + clock(still)
	}
	if eta, ok := l.eta(now); ok && eta >= time.Second { // the last one of many keeps no pace
		return text + "; about " + clock(eta) + " to this gate"
	}
	if most := l.plan.Cost.LongestWait + l.plan.Cost.FileWaits; most > 0 {
		return text + "; waits in all up to " + span(most)
	}
	return text
}

// stale is how old counters are before that is said.
const stale = 30 * time.Second

// stall is how long a count may stand before what is in the way, and not the pace
// so far, says when it ends.
const stall = 15 * time.Second

// eta goes on at the pace so far.
func (l *live) eta(now time.Time) (time.Duration, bool) {
	if l.status == nil || l.status.Open() || l.status.Proxies.Ready == 0 || l.status.Proxies.Ready >= l.status.Proxies.Of {
		return 0, false
	}
	if slices.ContainsFunc(l.status.Blockers, func(b rotation.Blocker) bool { return b.Unknown && b.Kind == "proxy" }) {
		return 0, false // what cannot be read keeps no pace
	}
	spent := now.Sub(l.entered)
	if spent < 2*time.Second {
		return 0, false
	}
	return time.Duration(float64(spent) / float64(l.status.Proxies.Ready) * float64(l.status.Proxies.Of-l.status.Proxies.Ready)), true
}

func (l *live) view(width, height int) string {
	var lines []string
	if l.status != nil {
		lines = append(lines, l.counts())
		if l.traffic != nil {
			lines = append(lines, l.styles.faint.Render(cut(" "+l.counters(), width)))
		}
		var bars []string
		if height >= 10 || len(l.status.Blockers) == 0 { // what is selected first
			bars = l.bars(width, max(1, height/3))
		}
		if len(bars) > 0 && l.traffic != nil && height < 18 {
			bars = bars[1:] // its empty line
		}
		lines = append(lines, bars...)
		lines = append(lines, l.blockers(width, max(1, height/4))...)
	}
	var foot []string
	switch {
	case l.typing():
		foot = l.question(width)
	case l.note != "":
		for _, line := range wrap(l.note, width-2, 2) {
			foot = append(foot, " "+l.styles.warn.Render(line))
		}
	}
	foot = ending(foot, height)
	lines = lines[:min(len(lines), max(0, height-len(foot)))] // what is asked is never cut off
	room := height - len(lines) - len(foot) - 1
	if room > 0 && len(lines) > 0 {
		lines = append(lines, "")
	}
	lines = append(lines, l.timeline(width, room)...)
	for len(lines)+len(foot) < height {
		lines = append(lines, "")
	}
	return strings.Join(append(lines, foot...), "\n")
}

func (l *live) counts() string {
	s := l.status
	part := func(what string, c rotation.Count) string {
		symbol := symbolAhead
		switch {
		case s.Listed && what == "proxies":
			return l.styles.paint(symbol, fmt.Sprintf("%s %d proxies, none asked", symbol, c.Of))
		case c.Of == 0: // not asked in this gate, or not yet
			return l.styles.paint(symbol, symbol+" "+what+" -")
		case c.Ready == c.Of:
			symbol = symbolGood
		}
		text := fmt.Sprintf(" %d/%d", c.Ready, c.Of)
		if n := len(s.Accepted); n > 0 && what == "proxies" {
			text += fmt.Sprintf(", %d accepted", n)
		}
		return l.styles.paint(symbol, symbol+" "+what+text)
	}
	return " " + strings.Join([]string{part("istiods", s.Replicas), part("ConfigMaps", s.ConfigMaps), part("webhooks", s.Webhooks), part("proxies", s.Proxies)}, "   ")
}

// counters is real traffic in one line.
func (l *live) counters() string {
	c := l.traffic.Counted
	text := fmt.Sprintf("traffic: %d connections, %d failed; %d requests, %d failed", c.Connections, c.ConnectFail, c.Requests, c.Errors)
	if n := len(l.traffic.Unread); n > 0 {
		text += fmt.Sprintf("; %d unread", n)
	}
	if age := l.now().Sub(l.traffic.Until); age > stale {
		text += "; " + clock(age) + " ago"
	}
	return text
}

// bars show the namespaces that are not done, and then those that are.
func (l *live) bars(width, most int) []string {
	all := slices.Clone(l.status.Namespaces)
	if len(all) == 0 || l.status.Listed { // a step that asks nothing of proxies says nothing of them
		return nil
	}
	slices.SortStableFunc(all, func(a, b rotation.Progress) int {
		return cmp.Compare(min(a.Proxies-a.Ready, 1), min(b.Proxies-b.Ready, 1)) * -1
	})
	name := min(63, max(12, width/4)) // a label of DNS is no longer
	room := max(10, min(40, width-name-36))
	lines := []string{"", l.styles.faint.Render(" " + fit("namespace", name) + right("proxies", 8) + "  " + fit(aim(l.phase), room+8) + " " + right("unreadable", 10))}
	for i, n := range all {
		if i == most && len(all) > most+1 {
			done := 0
			for _, rest := range all[i:] {
				if rest.Ready == rest.Proxies {
					done++
				}
			}
			lines = append(lines, l.styles.faint.Render(fmt.Sprintf(" (%d more, %d of them done)", len(all)-i, done)))
			break
		}
		symbol := " "
		switch {
		case n.Ready == n.Proxies:
			symbol = symbolGood
		case n.Unreadable > 0:
			symbol = symbolUnknown
		}
		line := " " + middle(n.Namespace, name) + right(fmt.Sprint(n.Proxies), 8) + "  " + bar(n.Ready, n.Proxies, room) + right(fmt.Sprint(n.Ready), 6) + "  " + symbol + right(fmt.Sprint(n.Unreadable), 10)
		lines = append(lines, l.styles.paint(symbol, line))
	}
	return lines
}

func (l *live) blockers(width, most int) []string {
	all := l.status.Blockers
	if len(all) == 0 {
		return nil
	}
	l.resize(len(all), most)
	lines := []string{"", l.styles.faint.Render(ends(fmt.Sprintf(" in the way: %d", len(all)), l.place()+" ", width))}
	from, to := l.visible()
	for i := from; i < to; i++ {
		lines = append(lines, l.line(blockerItem(all[i]), i == l.cursor, width))
	}
	if l.open && l.selected() != nil {
		for _, line := range wrap(l.selected().String(), width-6, 5) {
			lines = append(lines, "    "+line)
		}
	}
	if mayAccept(l.selected()) == "" {
		lines = append(lines, "    "+l.styles.faint.Render(cut("Unknown is never yes: mend it, or press a to accept it with a reason.", width-5)))
	}
	return lines
}

func (l *live) selected() *rotation.Blocker {
	if l.status == nil || l.cursor >= len(l.status.Blockers) {
		return nil
	}
	return &l.status.Blockers[l.cursor]
}

// timeline are the last things that happened.
func (l *live) timeline(width, most int) []string {
	if most <= 0 {
		return nil
	}
	var lines []string
	for _, e := range l.events[max(0, len(l.events)-most):] {
		lines = append(lines, " "+l.styles.faint.Render(e.Time.Format(time.TimeOnly))+" "+l.event(e, width-11))
	}
	return lines
}

func (l *live) event(e rotation.Event, width int) string {
	symbol, text := symbolNote, plain.Line(e.Message)
	switch e.Kind {
	case rotation.EventPhase:
		symbol, text = symbolHere, string(e.Phase)+": "+text
	case rotation.EventPassed, rotation.EventDone, rotation.EventStopped, rotation.EventRolledBack:
		symbol = symbolGood
	case rotation.EventWrite, rotation.EventRestart, rotation.EventWorkload:
		text = e.Object + ": " + text
	case rotation.EventWarning, rotation.EventPaused, rotation.EventAccepted:
		symbol = symbolWarn
	case rotation.EventFailed:
		symbol = symbolBad
	}
	return l.styles.paint(symbol, symbol+" "+cut(text, width-2))
}
