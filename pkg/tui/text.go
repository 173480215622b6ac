package tui

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/meshca/kubectl-meshca/internal/plain"
)

// cut makes text of the cluster safe and no wider than width.
func cut(s string, width int) string {
	if width <= 0 {
		return ""
	}
	return ansi.Truncate(plain.Line(s), width, "…")
}

// fit is cut and padded to width.
func fit(s string, width int) string {
	s = cut(s, width)
	return s + strings.Repeat(" ", max(0, width-ansi.StringWidth(s)))
}

// middle is fit that leaves out of the middle: names of pods differ at their ends.
func middle(s string, width int) string {
	s = plain.Line(s)
	size := ansi.StringWidth(s)
	if size <= width || width < 8 {
		return fit(s, width)
	}
	last := width * 2 / 5
	return fit(ansi.Truncate(s, width-last-1, "")+"…"+ansi.TruncateLeft(s, size-last, ""), width)
}

// commonName is what people call a certificate by, the whole name where it has
// none.
func commonName(name string) string {
	_, after, ok := strings.Cut(name, "CN=")
	if !ok {
		return name
	}
	cn, _, _ := strings.Cut(after, ",")
	return cn
}

// right is fit with the padding before.
func right(s string, width int) string {
	s = cut(s, width)
	return strings.Repeat(" ", max(0, width-ansi.StringWidth(s))) + s
}

// unbroken stands for a hyphen while lines are broken. No text that is drawn holds it:
// plain.Line leaves no control character.
const unbroken = "\x01"

// wrap breaks text into lines no wider than width, at most most of them; the last
// says where something is left out.
func wrap(s string, width, most int) []string {
	if width <= 0 || most <= 0 {
		return nil
	}
	// The library breaks after hyphens too: a date, a phase or a flag is one word.
	lines := strings.Split(ansi.Wrap(strings.ReplaceAll(plain.Line(s), "-", unbroken), width, ""), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(strings.ReplaceAll(lines[i], unbroken, "-"))
	}
	if len(lines) > most {
		lines = lines[:most]
		lines[most-1] = ansi.Truncate(lines[most-1], width-1, "") + "…"
	}
	return lines
}

// sentence is before, name and after, in one line where it fits. Elsewhere the name
// has lines of its own and is never cut: whoever has to type it has to read it.
func (c common) sentence(before, name, after string, width int) []string {
	name = plain.Line(name)
	if ansi.StringWidth(before+", "+name+after) <= width {
		return []string{before + ", " + c.styles.title.Render(name) + after}
	}
	lines := wrap(before+after, width, 4)
	for _, line := range strings.Split(ansi.Hardwrap(name, max(1, width-2), true), "\n") {
		lines = append(lines, "  "+c.styles.title.Render(line))
	}
	return lines
}

// ends puts two texts at the ends of one line; the left one gives way.
func ends(left, last string, width int) string {
	room := width - ansi.StringWidth(last)
	left = ansi.Truncate(left, max(0, room-1), "…")
	return left + strings.Repeat(" ", max(0, room-ansi.StringWidth(left))) + last
}

// frame cuts and fills a view to exactly width times height: a child that drew too
// much can never push the keys off the screen.
func frame(view string, width, height int) string {
	lines := strings.Split(view, "\n")
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, width, "")
	}
	for len(lines) < height {
		lines = append(lines, "")
	}
	return strings.Join(lines[:height], "\n")
}

// ending keeps the last lines where there is no room for all: what is asked, and what is
// typed, stand at the end.
func ending(lines []string, most int) []string {
	return lines[max(0, len(lines)-max(0, most)):]
}

func plural(n int, noun string) string { return plain.Count(n, noun) }

// clock is a duration as a stopwatch shows it.
func clock(d time.Duration) string {
	d = max(0, d).Round(time.Second)
	if d >= time.Hour {
		return fmt.Sprintf("%d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

func span(d time.Duration) string { return plain.Span(d) }

func stamp(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func day(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format(time.DateOnly)
}

// ago is how long before at something was, in the largest unit that says it.
func ago(t, at time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	switch d := at.Sub(t); {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", max(0, int(d.Seconds())))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd ago", int(d.Hours()/24))
	}
}

// bar is a share of width cells.
func bar(ready, of, width int) string {
	full := 0
	if of > 0 {
		full = ready * width / of
	}
	return strings.Repeat("█", full) + strings.Repeat("░", max(0, width-full))
}
