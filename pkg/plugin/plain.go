package plugin

import text "github.com/meshca/kubectl-meshca/internal/plain"

// plain makes text that somebody else chose safe for one line of a terminal.
func plain(s string) string { return text.Line(s) }
