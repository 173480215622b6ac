// Package plain makes text that somebody else chose safe for a terminal.
package plain

import (
	"strings"
	"unicode"
)

// Line makes text that somebody else chose (a certificate's name, a server's
// message) safe for one line of a terminal: control characters, among them the
// escape, the bell and the line feed, and invisible format characters, which can
// turn the reading direction, become spaces or U+FFFD. cli-runtime's
// EscapeTerminal knows only the escape and the carriage return.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
