package tui

import (
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"
)

// TestWrapLeavesWords: a date, a phase and a flag are one word; only what is wider than a
// line is broken.
func TestWrapLeavesWords(t *testing.T) {
	for text, want := range map[string]string{
		"it ends on 2026-12-18":    "it ends on|2026-12-18",
		"phase is sign-new now":    "phase is|sign-new now",
		"ledger-7d9c6b5f4-x2x8l-a": "ledger-7d9c6b|5f4-x2x8l-a",
	} {
		if got := strings.Join(wrap(text, 13, 9), "|"); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

// TestKeysOfTheEnds: the page of keys lists no step before the first, and none after the last.
func TestKeysOfTheEnds(t *testing.T) {
	for at, want := range map[int][2]bool{stepCheck: {true, false}, stepVerify: {true, true}, stepEnvoy: {false, true}} {
		w := testWizard(termenv.Ascii, scripted{})
		w.took(lookMsg{look: fixture(8)})
		w.at = at
		w.key(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("?")})
		text := ansi.Strip(w.allKeys(80, 30))
		if got := [2]bool{strings.Contains(text, "\n  tab "), strings.Contains(text, "shift+tab")}; got != want {
			t.Errorf("step %d: %v, not %v:\n%s", at, got, want, text)
		}
	}
}
