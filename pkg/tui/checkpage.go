package tui

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// checkPage shows what is wrong with the mesh as it stands.
type checkPage struct {
	items
	seen *Look
}

func newCheckPage(c common) *checkPage { return &checkPage{items: items{common: c}} }

func (p *checkPage) look(l *Look) {
	p.seen = l
	about := map[string]string{}
	for _, r := range check.Rules() {
		about[r.ID] = r.About
	}
	var all []item
	for _, e := range l.Check.Ends {
		all = append(all, endItem(e))
	}
	for _, f := range worstFirst(l.Check.Findings) {
		i := item{symbol: mark(string(f.Severity)), text: fmt.Sprintf("%-8s %s: %s", f.Category, f.Object, f.Message), detail: []string{"rule    " + f.ID, "more    " + anchor(f.ID)}}
		if f.Hint != "" {
			i.detail = append([]string{"hint    " + f.Hint}, i.detail...)
		}
		if n := len(f.Proxies()); n > 0 {
			i.detail = append(i.detail, "proxies "+strings.Join(f.Proxies()[:min(n, 20)], " "))
		}
		all = append(all, i)
	}
	for _, s := range l.Check.Skipped {
		symbol := symbolNote
		if s.Unknown {
			symbol = symbolUnknown
		}
		all = append(all, item{symbol: symbol, text: fmt.Sprintf("%-8s not checked: %s", s.Category, cmp.Or(about[s.Rule], s.Rule)), detail: []string{"why     " + s.Why, "rule    " + s.Rule}})
	}
	for _, id := range l.Check.Passed {
		all = append(all, item{symbol: symbolGood, text: fmt.Sprintf("%-8s %s", categoryOf(id), cmp.Or(about[id], id)), detail: []string{"rule    " + id}})
	}
	p.set(all)
}

// anchor is where the documentation says more of a finding: what is wrong with the
// CA's certificates is listed there as "ca lint" calls it.
func anchor(id string) string {
	for _, r := range pki.LintRules() {
		if id == "ca-"+r.ID {
			id = r.ID
		}
	}
	return "docs/hints.md#" + id
}

func endItem(e check.End) item {
	symbol, left := symbolGood, fmt.Sprintf("ends in %s, %s", plural(e.Days, "day"), day(e.NotAfter))
	policy := check.DefaultPolicy()
	switch {
	case e.Days < 0:
		symbol, left = symbolBad, fmt.Sprintf("ended %s ago, %s", plural(-e.Days, "day"), day(e.NotAfter))
	case e.Days < int(policy.FailBefore.Hours()/24):
		symbol = symbolBad
	case e.Days < int(policy.WarnBefore.Hours()/24):
		symbol = symbolWarn
	}
	return item{symbol: symbol, text: fmt.Sprintf("%-8s %s: %s", e.Role, e.Subject, left), detail: []string{"sha256  " + e.Fingerprint.String()}}
}

// worstFirst keeps categories together, the one with the worst finding first.
func worstFirst(findings []check.Finding) []check.Finding {
	order := []pki.Severity{pki.SeverityError, pki.SeverityWarning, pki.SeverityInfo}
	rank := func(f check.Finding) int { return slices.Index(order, f.Severity) }
	worst := map[check.Category]int{}
	for _, f := range findings {
		if r, ok := worst[f.Category]; !ok || rank(f) < r {
			worst[f.Category] = rank(f)
		}
	}
	sorted := slices.Clone(findings)
	slices.SortStableFunc(sorted, func(a, b check.Finding) int {
		return cmp.Or(cmp.Compare(worst[a.Category], worst[b.Category]),
			cmp.Compare(slices.Index(check.Categories(), a.Category), slices.Index(check.Categories(), b.Category)), cmp.Compare(rank(a), rank(b)))
	})
	return sorted
}

func categoryOf(rule string) check.Category {
	for _, r := range check.Rules() {
		if r.ID == rule {
			return r.Category
		}
	}
	return ""
}

func (p *checkPage) facts() []fact {
	if p.seen == nil {
		return []fact{{"Now", "Reading the mesh. Nothing is changed."}}
	}
	next := "Is there a release with a known fault? Press tab for Versions."
	if p.mark() == symbolBad {
		next = "Mend what is marked ✗ first where it stands in the way; enter shows how."
	}
	return []fact{{"Found", p.seen.Verdict}, {"Next", next}, {"Cost", "None: a check only reads."}, {"Stop", "Nothing has been changed."}}
}

func (p *checkPage) mark() string {
	if p.seen == nil {
		return ""
	}
	if worst := p.seen.Check.Worst(); worst == pki.SeverityError || worst == pki.SeverityWarning {
		return mark(string(worst))
	}
	if slices.ContainsFunc(p.seen.Check.Skipped, func(s check.Skip) bool { return s.Unknown }) {
		return symbolUnknown
	}
	return symbolGood
}

func (p *checkPage) update(m tea.Msg) tea.Cmd { p.items.update(m); return nil }
func (p *checkPage) typing() bool             { return false }
func (p *checkPage) keys() []key.Binding {
	return p.items.keys()
}
