package tui

import (
	"github.com/charmbracelet/lipgloss"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// styles are the sixteen colours of the terminal's own palette, which its owner
// has made readable on its background, dark or light. Nothing is told by them alone.
type styles struct {
	title, faint, good, bad, warn, accent, selected lipgloss.Style
}

func newStyles(r *lipgloss.Renderer) styles {
	colour := func(c string) lipgloss.Style { return r.NewStyle().Foreground(lipgloss.Color(c)) }
	return styles{
		title: r.NewStyle().Bold(true), faint: r.NewStyle().Faint(true),
		good: colour("2"), bad: colour("1"), warn: colour("3"), accent: colour("6"), selected: r.NewStyle().Reverse(true),
	}
}

// The symbols of verdicts.
const (
	symbolGood    = "✓"
	symbolBad     = "✗"
	symbolWarn    = "!"
	symbolUnknown = "?"
	symbolNote    = "·"
	symbolHere    = "●"
	symbolAhead   = "○"
)

// mark is the symbol of a verdict: a severity, or one of the words of versions and
// envoys.
func mark(verdict string) string {
	switch verdict {
	case string(pki.SeverityError), "expired", "missing":
		return symbolBad
	case string(pki.SeverityWarning), "swapping":
		return symbolWarn
	case "unknown", "unreadable":
		return symbolUnknown
	case "ok", "read", "loaded":
		return symbolGood
	}
	return symbolNote
}

// paint colours text by the symbol it begins with.
func (s styles) paint(symbol, text string) string {
	switch symbol {
	case symbolBad:
		return s.bad.Render(text)
	case symbolWarn, symbolUnknown:
		return s.warn.Render(text)
	case symbolGood:
		return s.good.Render(text)
	case symbolHere:
		return s.accent.Render(text)
	case symbolNote, symbolAhead:
		return s.faint.Render(text)
	}
	return text
}
