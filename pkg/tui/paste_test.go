package tui

import (
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/muesli/termenv"
)

// TestPastedPassphrase: the end of a line that is copied along with a passphrase is none of
// it. Sealed to "word " the only copy of a root's key would be opened by nobody who types,
// or has in a file, what was pasted.
func TestPastedPassphrase(t *testing.T) {
	for _, test := range []struct {
		name, text, want string
		refused          bool
	}{
		{"as it is", "word", "word", false},
		{"with the end of its line", "word\n", "word", false},
		{"as terminals send that", "word\r", "word", false},
		{"of a file from Windows", "word\r\n", "word", false},
		{"spaces are its own", " two words ", " two words ", false},
		{"two lines", "word\nmore\n", "", true},
		{"a tab", "wo\trd", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := testWizard(termenv.Ascii, scripted{})
			seen := fixture(3)
			seen.Underway = nil
			w.took(lookMsg{look: seen})
			w.at = stepTransition
			f := w.transition.form
			for range 4 { // why, new CA, old root's key, seal to
				w.key(tea.KeyMsg{Type: tea.KeyTab})
			}
			w.key(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(test.text), Paste: true})
			if got := f.word.input.Value(); got != test.want {
				t.Errorf("the passphrase is %q, not %q", got, test.want)
			}
			if (f.err != nil) != test.refused {
				t.Errorf("it says %v", f.err)
			}
			w.key(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("x")})
			if f.err != nil || f.word.input.Value() != test.want+"x" {
				t.Errorf("what is typed next: %q, %v", f.word.input.Value(), f.err)
			}
		})
	}
}
