package tui

import (
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
)

// common is what every page draws with.
type common struct {
	bound  keyMap
	styles styles
	now    func() time.Time
	// carry is Options.Carry.
	carry func(string) string
}

// named has the commands that a text names be about this mesh.
func (c common) named(text string) string {
	if c.carry == nil {
		return text
	}
	return c.carry(text)
}

// page is one step of the wizard. The wizard alone is a tea.Model.
type page interface {
	// look takes what a look at the mesh has found.
	look(*Look)
	// facts are the sentences above the page.
	facts() []fact
	update(tea.Msg) tea.Cmd
	// view draws what is below the sentences.
	view(width, height int) string
	// keys are those that mean something here now.
	keys() []key.Binding
	// typing is true while letters are text.
	typing() bool
	// mark is the symbol of the step's verdict, "" before there is one.
	mark() string
}

// fact is one sentence and what it answers: found, next, cost, stop.
type fact struct{ label, text string }

// factLines draws sentences under their labels, wrapped; each has most lines.
func (c common) factLines(facts []fact, width, most int) []string {
	const indent = 8
	var lines []string
	for _, f := range facts {
		if f.text == "" {
			continue
		}
		own, text := min(most, 3), c.named(f.text)
		if f.label == "Hint" || text != f.text { // the way out is in its end
			own = most
		}
		for i, line := range wrap(text, width-indent-1, own) {
			label := strings.Repeat(" ", indent)
			if i == 0 {
				label = c.styles.faint.Render(fit(" "+f.label, indent))
			}
			lines = append(lines, label+line)
		}
	}
	return lines
}

// factsWithin draws them in a height: first each is told shorter, then those are left
// out without which one still knows what is true, and whether it is safe to stop.
func (c common) factsWithin(facts []fact, width, height int) []string {
	lines := c.factLines(facts, width, 6)
	for most := 3; most > 0 && len(lines) > height; most-- {
		lines = c.factLines(facts, width, most)
	}
	for _, label := range []string{"Cost", "Time", "Next", "Hint", "Stop"} {
		if len(lines) <= height {
			break
		}
		facts = slices.DeleteFunc(slices.Clone(facts), func(f fact) bool { return f.label == label })
		lines = c.factLines(facts, width, 1)
	}
	return lines[:max(0, min(len(lines), height))]
}

// item is one line of a page, with what it hides.
type item struct {
	symbol string
	text   string
	detail []string
	// row draws it in columns, which cut; nil draws text.
	row func(width int) string
}

// items is a list of them with one selected; enter shows its details.
type items struct {
	common
	list
	all  []item
	open bool
}

func (c *items) set(all []item) {
	c.all = all
	c.resize(len(all), c.height)
}

// told is all of it, for who hears it.
func (c *items) told() []item { return c.all }

func (c *items) update(m tea.Msg) {
	switch m := m.(type) {
	case tea.KeyMsg:
		switch {
		case key.Matches(m, c.bound.Enter):
			c.open = !c.open
		case key.Matches(m, c.bound.Back):
			c.open = false
		default:
			c.move(m, c.bound)
		}
	case tea.MouseMsg:
		c.scroll(m)
	}
}

// keys are those of a list that hides details.
func (c *items) keys() []key.Binding {
	k := c.bound
	if c.open {
		return []key.Binding{k.Up, named(k.Back, "close"), k.NextStep, k.Again}
	}
	return []key.Binding{k.Up, k.Enter, k.NextStep, k.Again}
}

func (c *items) view(width, height int) string {
	var pane []string
	if c.open && c.cursor < len(c.all) {
		pane = c.pane(c.all[c.cursor], width, max(3, height-2))
	}
	c.resize(len(c.all), height-len(pane)-1)
	var lines []string
	from, to := c.visible()
	for i := from; i < to; i++ {
		lines = append(lines, c.line(c.all[i], i == c.cursor, width))
	}
	if place := c.place(); place != "" {
		lines = append(lines, c.styles.faint.Render(right(place, width-1)))
	}
	lines = lines[:max(0, min(len(lines), height-len(pane)))]
	for len(lines)+len(pane) < height && len(pane) > 0 {
		lines = append(lines, "")
	}
	return strings.Join(append(lines, pane...), "\n")
}

// line draws one row; the selected one has a pointer, so that no colour is needed.
func (c common) line(i item, selected bool, width int) string {
	pointer := "  "
	if selected {
		pointer = "> "
	}
	text := i.text
	if i.row != nil {
		text = i.row(width - 4)
	}
	text = fit(text, width-4)
	if i.symbol == "" {
		text = c.styles.title.Render(text)
	}
	body := c.styles.paint(i.symbol, fit(i.symbol, 1)) + " " + text
	if selected {
		body = c.styles.title.Render(ansi.Strip(body))
	}
	return pointer + body
}

// pane is what a row hides, under a rule.
func (c common) pane(i item, width, most int) []string {
	pane := []string{c.styles.faint.Render(strings.Repeat("─", width))}
	lines := wrap(strings.TrimSpace(i.text), width-2, 3)
	for _, d := range i.detail {
		lines = append(lines, wrap(d, width-2, 8)...)
	}
	if len(lines) > most-1 {
		lines = append(lines[:most-2], "…")
	}
	for _, line := range lines {
		pane = append(pane, " "+line)
	}
	return pane
}
