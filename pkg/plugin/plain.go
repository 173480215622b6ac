package plugin

import text "github.com/meshca/kubectl-meshca/internal/plain"

// plain makes text that somebody else chose safe for one line of a terminal.
func plain(s string) string { return text.Line(s) }

// quoted is a word for a POSIX shell.
func quoted(word string) string { return text.Word(word) }
