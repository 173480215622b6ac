package rotation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// journalLog is a journal's lines, bounded by maxLog: the oldest are dropped first,
// and the first line says how many.
type journalLog struct {
	lines   []string
	size    int
	dropped int
}

const droppedLine = "%d older lines were dropped"

func parseLog(text string) journalLog {
	var l journalLog
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if len(l.lines) == 0 && l.dropped == 0 {
			var n int
			if _, err := fmt.Sscanf(line, droppedLine, &n); err == nil && line == fmt.Sprintf(droppedLine, n) {
				l.dropped = n
				continue
			}
		}
		l.add(line)
	}
	return l
}

// add takes one line; line feeds in it would make it several.
func (l *journalLog) add(line string) {
	line = strings.ReplaceAll(line, "\n", " ")
	l.lines = append(l.lines, line)
	for l.size += len(line) + 1; l.size > maxLog-len(droppedLine)-20 && len(l.lines) > 1; l.dropped++ {
		l.size -= len(l.lines[0]) + 1
		l.lines = l.lines[1:]
	}
}

func (l *journalLog) String() string {
	var text strings.Builder
	if l.dropped > 0 {
		fmt.Fprintf(&text, droppedLine+"\n", l.dropped)
	}
	for _, line := range l.lines {
		text.WriteString(line + "\n")
	}
	return text.String()
}

// clipped cuts what somebody else has written to maxText bytes, between characters.
func clipped(s string) string {
	if len(s) <= maxText {
		return s
	}
	s = s[:maxText-len("…")]
	for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	if r, _ := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && len(s) > 0 {
		s = s[:len(s)-1]
	}
	return s + "…"
}

func last[T any](all []T) []T { return lastOf(all, maxList) }

func lastOf[T any](all []T, n int) []T { return all[max(0, len(all)-n):] }

// someOf keeps n of the entries, by name, each clipped.
func someOf(all map[string]string, n int) map[string]string {
	kept := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if len(kept) == n {
			break
		}
		kept[clipped(name)] = clipped(all[name])
	}
	return kept
}
