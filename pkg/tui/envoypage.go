package tui

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/bubbles/key"
	"github.com/charmbracelet/bubbles/textinput"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/meshca/kubectl-meshca/internal/plain"
)

// envoyPage confirms, proxy by proxy, what is loaded. Rows are made as they are
// drawn: ten thousand cost what twenty do.
type envoyPage struct {
	common
	list
	all    []Envoy
	shown  []int // indexes into all, filtered and sorted
	at     time.Time
	ready  bool
	states map[string]int // of all: a frame draws what is visible, and counts nothing
	open   bool
	filter textinput.Model
	sort   int
}

// sorts are the orders that a key goes round.
func sorts() []string { return []string{"name", "state", "not before", "issuer"} }

func newEnvoyPage(c common) *envoyPage {
	return &envoyPage{common: c, filter: c.input("/")}
}

func (p *envoyPage) look(l *Look) {
	p.all, p.at, p.ready, p.states = l.Envoys, l.At, true, map[string]int{}
	for _, e := range p.all {
		p.states[e.State]++
	}
	p.arrange()
}

func (p *envoyPage) arrange() {
	p.shown = p.shown[:0]
	words := strings.Fields(strings.ToLower(p.filter.Value()))
	for i, e := range p.all {
		text := strings.ToLower(strings.Join([]string{e.Namespace + "/" + e.Name, e.State, e.Issuer, e.Serial, e.Kind, e.Version, strings.Join(e.Roots, " ")}, " "))
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			p.shown = append(p.shown, i)
		}
	}
	slices.SortStableFunc(p.shown, func(i, j int) int {
		a, b := p.all[i], p.all[j]
		name := cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		switch sorts()[p.sort] {
		case "state":
			return cmp.Or(cmp.Compare(verdictRank(a.State), verdictRank(b.State)), name)
		case "not before":
			return cmp.Or(a.NotBefore.Compare(b.NotBefore), name)
		case "issuer":
			return cmp.Or(cmp.Compare(a.Issuer, b.Issuer), name)
		}
		return name
	})
	p.resize(len(p.shown), p.height)
}

func (p *envoyPage) update(m tea.Msg) tea.Cmd {
	switch m := m.(type) {
	case tea.MouseMsg:
		p.scroll(m)
	case tea.KeyMsg:
		k := p.bound
		if p.filter.Focused() {
			if key.Matches(m, k.Enter, k.Back) {
				p.filter.Blur()
				return nil
			}
			var cmd tea.Cmd
			p.filter, cmd = p.filter.Update(m)
			p.arrange()
			return cmd
		}
		switch {
		case key.Matches(m, k.Filter):
			p.filter.Focus()
		case key.Matches(m, k.Sort):
			p.sort = (p.sort + 1) % len(sorts())
			p.arrange()
		case key.Matches(m, k.Enter):
			p.open = !p.open
		case key.Matches(m, k.Back):
			p.open = false
			p.filter.SetValue("")
			p.arrange()
		default:
			p.move(m, k)
		}
	}
	return nil
}

func (p *envoyPage) view(width, height int) string {
	wide := width >= 120
	name := max(20, (width-42)*2/3)
	if wide {
		name = 40
	}
	rest := max(8, width-4-name-1-10-1-8-1-16-1)
	row := func(ref, state, serial, from, issuer, evidence, updated string) string {
		line := middle(ref, name) + " " + fit(state, 10) + " " + fit(serial, 8) + " " + fit(from, 16)
		if wide {
			return line + " " + fit(issuer, max(8, rest-33)) + " " + fit(evidence, 20) + " " + fit(updated, 11)
		}
		return line + " " + fit(issuer, rest)
	}
	header := row("proxy", "state", "serial", "not before (UTC)", "issuer", "evidence", "updated")
	lines := []string{p.styles.faint.Render("    " + header)}
	var pane []string
	if p.open && p.cursor < len(p.shown) {
		pane = p.details(p.all[p.shown[p.cursor]], width, max(4, height*2/3))
	}
	p.resize(len(p.shown), height-len(pane)-2)
	from, to := p.visible()
	for i := from; i < to; i++ {
		e := p.all[p.shown[i]]
		serial := e.Serial
		if len(serial) > 8 {
			serial = serial[:7] + "…"
		}
		before := ""
		if !e.NotBefore.IsZero() {
			before = e.NotBefore.UTC().Format("2006-01-02 15:04")
		}
		text := row(e.Namespace+"/"+e.Name, e.State, serial, before, commonName(e.Issuer), e.Evidence, ago(e.LeafUpdated, p.at))
		lines = append(lines, p.line(item{symbol: mark(e.State), text: text}, i == p.cursor, width))
	}
	for len(lines) < height-len(pane)-1 {
		lines = append(lines, "")
	}
	return strings.Join(append(append(lines, p.bottom(width)), pane...), "\n")
}

// bottom is the filter and where one is.
func (p *envoyPage) bottom(width int) string {
	place := cmp.Or(p.place(), fmt.Sprintf("%d of %d", len(p.shown), len(p.all)))
	left := " sorted by " + sorts()[p.sort]
	if p.filter.Focused() {
		left = " " + p.filter.View()
	} else if f := p.filter.Value(); f != "" {
		left += ", filter: " + plain.Line(f) + " (esc clears)"
	}
	return p.styles.faint.Render(ends(left, place+" ", width))
}

func (p *envoyPage) details(e Envoy, width, most int) []string {
	confirmed := "live TLS contexts use this leaf"
	if !e.Confirmed {
		confirmed = "not confirmed by live TLS contexts"
	}
	i := item{text: e.Namespace + "/" + e.Name + "  " + e.Kind + " " + e.Version}
	if e.Reason != "" {
		i.detail = append(i.detail, "reason   "+e.Reason)
	}
	if e.Serial != "" {
		i.detail = append(i.detail,
			"serial   "+e.Serial, "valid    "+stamp(e.NotBefore)+" to "+stamp(e.NotAfter), "issuer   "+e.Issuer, "identity "+e.SPIFFE,
			"roots    "+strings.Join(e.Roots, "; "), "updated  leaf "+ago(e.LeafUpdated, p.at)+", roots "+ago(e.RootsUpdated, p.at),
			"evidence "+e.Evidence+"; "+confirmed)
	}
	return p.pane(i, width, most)
}

// told is all of it, for who hears it.
func (p *envoyPage) told() []item {
	var all []item
	for _, e := range p.all {
		text := fmt.Sprintf("%s/%s: %s", e.Namespace, e.Name, e.State)
		if e.Serial != "" {
			text += fmt.Sprintf(", serial %s, not before %s, issuer %s, roots %s, by %s", e.Serial, stamp(e.NotBefore), commonName(e.Issuer), strings.Join(e.Roots, "; "), e.Evidence)
		}
		i := item{symbol: mark(e.State), text: text}
		if e.Reason != "" {
			i.detail = []string{e.Reason}
		}
		all = append(all, i)
	}
	return all
}

func (p *envoyPage) facts() []fact {
	if !p.ready {
		return []fact{{"Now", "Reading the mesh. Nothing is changed."}}
	}
	states := p.states
	found := fmt.Sprintf("%s read; each has a valid certificate.", plural(len(p.all), "proxy"))
	if len(p.all) == 0 {
		found = "No live proxy was found: that proves nothing."
	} else if good := states["read"] + states["loaded"]; good < len(p.all) {
		var others []string
		for _, s := range []string{"expired", "missing", "swapping", "unreadable"} {
			if states[s] > 0 {
				others = append(others, fmt.Sprintf("%d %s", states[s], s))
			}
		}
		found = fmt.Sprintf("%d of %d proxies are as they should be; %s.", good, len(p.all), strings.Join(others, ", "))
	}
	return []fact{{"Found", found}, {"Next", "Nothing more: this is the last step. q quits."}, {"Cost", "None: it only reads."}, {"Stop", "Nothing is changed by looking."}}
}

func (p *envoyPage) mark() string {
	if !p.ready {
		return ""
	}
	worst := symbolGood
	for _, state := range slices.Sorted(maps.Keys(p.states)) {
		switch m := mark(state); {
		case m == symbolBad:
			return symbolBad
		case m != symbolGood:
			worst = m
		}
	}
	if len(p.all) == 0 {
		return symbolUnknown
	}
	return worst
}

func (p *envoyPage) typing() bool { return p.filter.Focused() }
func (p *envoyPage) keys() []key.Binding {
	k := p.bound
	if p.typing() {
		return []key.Binding{named(k.Enter, "done"), named(k.Back, "done")}
	}
	return []key.Binding{k.Up, k.Enter, k.Filter, k.Sort, k.Again}
}
