package tui

import (
	"bytes"
	"strings"
	"testing"
)

// TestColor: --color decides, whatever the terminal and the environment say.
func TestColor(t *testing.T) {
	for _, row := range []struct {
		color, force string
		want         bool
	}{
		{"never", "1", false}, {"always", "", true}, {"auto", "", false}, {"auto", "1", true}, {"", "1", true},
	} {
		t.Setenv("CLICOLOR_FORCE", row.force)
		if drawn := newCommon(Options{Out: &bytes.Buffer{}, Color: row.color}).styles.good.Render("x"); strings.Contains(drawn, "\x1b[") != row.want {
			t.Errorf("--color %q, CLICOLOR_FORCE %q: %q", row.color, row.force, drawn)
		}
	}
}
