package tui

import (
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"
)

// TestTabInTheForm: Tab goes from field to field, so that whoever types a passphrase as in
// any form does not give the wizard orders with the rest of it; past the last field it
// goes on to the next step.
func TestTabInTheForm(t *testing.T) {
	w := testWizard(termenv.Ascii, scripted{})
	seen := fixture(3)
	seen.Underway = nil
	w.took(lookMsg{look: seen})
	w.at = stepTransition
	press := func(k tea.KeyType, text string) { w.key(tea.KeyMsg{Type: k, Runes: []rune(text)}) }
	for range 4 { // why, new CA, old root's key, seal to
		press(tea.KeyTab, "")
	}
	f := w.transition.form
	press(tea.KeyRunes, "q1")
	press(tea.KeyTab, "")
	press(tea.KeyRunes, "q2")
	if w.at != stepTransition || f.word.input.Value() != "q1" || f.again.input.Value() != "q2" {
		t.Fatalf("step %d, %q and %q", w.at, f.word.input.Value(), f.again.input.Value())
	}
	press(tea.KeyShiftTab, "")
	press(tea.KeyRunes, "x")
	if f.word.input.Value() != "q1x" {
		t.Errorf("Shift-Tab: %q", f.word.input.Value())
	}
	if text := ansi.Strip(w.View()); !strings.Contains(text, "tab next field") || strings.Contains(text, "tab next  ") {
		t.Errorf("the bar says another thing:\n%s", text)
	}
	for range 3 {
		press(tea.KeyTab, "")
	}
	if f.current() != f.end || w.at != stepTransition {
		t.Errorf("step %d, field %q", w.at, f.current().label)
	}
	press(tea.KeyTab, "")
	if w.at != stepVerify {
		t.Errorf("past the last field: step %d", w.at)
	}
	// Where something else is typed, Tab does nothing.
	w.at, w.transition.stage = stepTransition, confirming
	press(tea.KeyTab, "")
	if w.at != stepTransition {
		t.Error("a name is half typed, and Tab leaves")
	}
}
