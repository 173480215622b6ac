package tui

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
)

// versionsPage is the audit of releases, per namespace and revision.
type versionsPage struct {
	items
	groups []versionGroup
	ready  bool
}

// versionGroup are alike in all that the audit looks at.
type versionGroup struct {
	Version
	names []string
}

func newVersionsPage(c common) *versionsPage { return &versionsPage{items: items{common: c}} }

func (p *versionsPage) look(l *Look) {
	p.ready = true
	p.groups = grouped(l.Versions)
	var all []item
	for _, g := range p.groups {
		var ids, detail []string
		for _, r := range g.Rules {
			ids = append(ids, r.ID)
			detail = append(detail, fmt.Sprintf("%s %s: %s", mark(string(r.Severity)), r.ID, r.Message))
			if r.Hint != "" {
				detail = append(detail, "hint    "+r.Hint)
			}
		}
		for _, id := range g.Possible {
			ids = append(ids, id+"?")
		}
		names := strings.Join(g.names[:min(len(g.names), 20)], " ")
		if more := len(g.names) - 20; more > 0 {
			names += fmt.Sprintf(" and %d more", more)
		}
		detail = append(detail, "from    "+cmp.Or(g.From, "nothing says it"), "pods    "+names)
		cells := []string{g.Namespace, cmp.Or(g.Revision, "-"), g.Kind, fmt.Sprint(len(g.names)), cmp.Or(g.Release, "unknown"), g.Verdict, strings.Join(ids, " ")}
		all = append(all, item{symbol: mark(g.Verdict), detail: detail, row: func(width int) string { return versionRow(cells, width) },
			text: fmt.Sprintf("%s, revision %s: %s, %s, release %s: %s", g.Namespace, cells[1], g.Kind, plural(len(g.names), "pod"), cells[4], strings.TrimSpace(g.Verdict+" "+cells[6]))})
	}
	p.set(all)
}

func grouped(versions []Version) []versionGroup {
	var groups []versionGroup
	index := map[[5]string]int{}
	for _, v := range versions {
		key := [5]string{v.Namespace, v.Revision, v.Kind, v.Release, v.Verdict}
		i, ok := index[key]
		if !ok {
			i = len(groups)
			index[key] = i
			groups = append(groups, versionGroup{Version: v})
		}
		groups[i].names = append(groups[i].names, v.Name)
	}
	slices.SortStableFunc(groups, func(a, b versionGroup) int {
		return cmp.Or(cmp.Compare(verdictRank(a.Verdict), verdictRank(b.Verdict)), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind))
	})
	return groups
}

func verdictRank(v string) int {
	return slices.Index([]string{symbolNote, symbolGood, symbolUnknown, symbolWarn, symbolBad}, mark(v)) * -1
}

// versionRow is a row of a width: names have what the rules leave.
func versionRow(cells []string, width int) string {
	spare := max(0, width-106)
	namespace, revision := min(63, 18+spare*2/3), min(40, 10+spare/3)
	return middle(cells[0], namespace) + " " + middle(cells[1], revision) + " " + fit(cells[2], 8) + right(cells[3], 6) + "  " + fit(cells[4], 12) + " " + fit(cells[5], 8) + " " + cells[6]
}

func (p *versionsPage) view(width, height int) string {
	header := "    " + versionRow([]string{"namespace", "revision", "kind", "pods", "release", "verdict", "rules"}, width-4)
	return p.styles.faint.Render(cut(header, width)) + "\n" + p.items.view(width, height-1)
}

func (p *versionsPage) facts() []fact {
	if !p.ready {
		return []fact{{"Now", "Reading the mesh. Nothing is changed."}}
	}
	pods, bad, unknown := 0, 0, 0
	for _, g := range p.groups {
		pods += len(g.names)
		switch mark(g.Verdict) {
		case symbolBad, symbolWarn:
			bad += len(g.names)
		case symbolUnknown:
			unknown += len(g.names)
		}
	}
	found := fmt.Sprintf("%s audited; something is known against the release of %d; %d are not known exactly.", plural(pods, "pod"), bad, unknown)
	if pods > 0 && bad+unknown == 0 {
		found = fmt.Sprintf("%s audited; nothing is known against any release.", plural(pods, "pod"))
	}
	return []fact{{"Found", found}, {"Next", "Choose how the root is replaced. Press tab for Transition."}, {"Cost", "None: the audit only reads."}, {"Stop", "Nothing has been changed."}}
}

func (p *versionsPage) mark() string {
	if !p.ready {
		return ""
	}
	if len(p.groups) == 0 {
		return symbolUnknown
	}
	return mark(p.groups[0].Verdict)
}

func (p *versionsPage) update(m tea.Msg) tea.Cmd { p.items.update(m); return nil }
func (p *versionsPage) typing() bool             { return false }
func (p *versionsPage) keys() []key.Binding {
	k := p.bound
	return []key.Binding{k.Up, k.Enter, k.NextStep, k.Again}
}
