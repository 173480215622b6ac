package tui

import (
	"fmt"
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"
)

// TestSmallWindows: on a window smaller than what is promised the step one is at, what is
// selected or typed, and the keys are still there. It is the sentences that give way.
func TestSmallWindows(t *testing.T) {
	for _, size := range [][2]int{{60, 15}, {40, 10}, {40, 8}} {
		t.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(t *testing.T) {
			for _, s := range scenes() {
				w := testWizard(termenv.Ascii, scripted{seen: fixture(30), plan: fixturePlan()})
				w.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
				w.took(lookMsg{look: fixture(30)})
				s.show(w)
				whole(t, s.name, w)
				switch s.name {
				case "keys", "no cluster", "transition, under way", "transition, runs elsewhere", "transition, stop?", "transition, going back":
				default: // something is selected, or typed
					if frame := w.View(); !strings.Contains(frame, "\n> ") && !strings.Contains(frame, "\n  > ") && !strings.Contains(frame, "\n > ") {
						t.Errorf("%s: nothing shows what is selected:\n%s", s.name, frame)
					}
				}
				if s.name == "transition, stop?" && !strings.Contains(strings.Join(strings.Fields(w.View()), " "), "any other key goes on.") {
					t.Errorf("what answers the question is cut:\n%s", w.View())
				}
			}
			w := testWizard(termenv.Ascii, scripted{})
			w.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
			w.took(lookMsg{look: fixture(30)})
			w.at = stepTransition
			f := w.transition.form
			f.source.chosen, f.sealTo.chosen = 1, 1
			for n := range f.visible() {
				f.at = n
				f.focus()
				q := f.current()
				if q != f.end && len(q.options) == 0 {
					q.input.SetValue("x" + fmt.Sprint(n))
				}
				whole(t, q.label, w)
				frame := w.View()
				shown := "x" + fmt.Sprint(n)
				if len(q.options) > 0 {
					shown = q.options[q.chosen]
				}
				if !strings.Contains(frame, "\n> "+q.label) || !strings.Contains(frame, shown) {
					t.Errorf("%q is out of sight:\n%s", q.label, frame)
				}
			}
		})
	}
}

// whole says what of a frame nobody can do without.
func whole(t *testing.T, name string, w *Wizard) {
	t.Helper()
	check80(t, name, w.View(), w.width, w.height)
	if line := ansi.Strip(strings.Split(w.View(), "\n")[1]); !strings.Contains(line, "["+stepNames()[w.at]+"]") {
		t.Errorf("%s: the step is cut off: %q", name, line)
	}
}
