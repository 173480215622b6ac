package tui

import (
	"context"
	"errors"
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/muesli/termenv"
)

// ran is a wizard whose rotation has run, told these Events, and ended with err.
func ran(t *testing.T, c Choice, err error, events ...rotation.Event) *Wizard {
	t.Helper()
	w := testWizard(termenv.Ascii, scripted{seen: fixture(8), plan: fixturePlan()})
	w.took(lookMsg{look: fixture(8)})
	w.at = stepTransition
	p := w.transition
	p.update(p.ask(c)())
	p.start()
	p.update(eventsMsg{events: events})
	w.Update(p.update(eventsMsg{ended: true, err: err})())
	return w
}

func esc() tea.KeyMsg { return tea.KeyMsg{Type: tea.KeyEsc} }

// TestResultIsLeft: a run that failed by what was chosen (a folder that cannot be
// written) leads back to the choice, and one that has changed something to what is
// under way; not before a look has shown which.
func TestResultIsLeft(t *testing.T) {
	kept := rotation.Event{Time: noon(), Kind: rotation.EventWrite, Object: "secret istio-system/meshca-staged"}
	underWay := fixture(8)
	underWay.Underway = &Underway{ID: "3f1a9c22b0", Strategy: rotation.CrossSign, Phase: rotation.Prepare, Holder: "ann@laptop/1", NewRoot: "CN=mesh root 2026"}
	for name, c := range map[string]struct {
		events []rotation.Event
		err    error
		now    *Look
		want   string
		fails  bool
	}{
		"before its first change": {nil, errors.New("writing before.age: permission denied"), fixture(8), "make the plan", false},
		"under way":               {[]rotation.Event{kept}, errors.New("forbidden"), underWay, "is under way", true},
		"done":                    {[]rotation.Event{kept}, nil, fixture(8), "make the plan", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := ran(t, Choice{Make: true}, c.err, c.events...)
			w.Update(tea.WindowSizeMsg{Width: 120, Height: 40})
			if w.key(esc()); w.transition.stage != ended {
				t.Fatal("it is left before it is known what it has left")
			}
			w.took(lookMsg{look: c.now})
			w.key(esc())
			if text := ansi.Strip(w.View()); w.transition.stage != choosing || !strings.Contains(text, c.want) {
				t.Errorf("esc does not lead to %q:\n%s", c.want, text)
			}
			if left := w.outcome(context.Background()); (left.Err != nil) != c.fails {
				t.Errorf("left from there it says %+v", left)
			}
		})
	}
}

// TestLookOfBefore: what a look has seen that began before a run's end is not what the
// run has left.
func TestLookOfBefore(t *testing.T) {
	w := testWizard(termenv.Ascii, scripted{seen: fixture(8), plan: fixturePlan()})
	w.looking = true
	w.Update(endedMsg{})
	old := fixture(8)
	if again := w.took(lookMsg{look: old}); again == nil || w.seen == old {
		t.Error("it is taken for the mesh as it is after the run")
	}
	if w.took(lookMsg{look: fixture(8)}); w.seen == nil || w.looking {
		t.Error("the look after it is not taken")
	}
}

// TestFormTellsHints: what a choice fails by, and what ends it.
func TestFormTellsHints(t *testing.T) {
	w := testWizard(termenv.Ascii, scripted{err: &Problem{errors.New("before.age is there already"), "name another: a sealed copy is never written over"}})
	w.took(lookMsg{look: fixture(8)})
	w.at = stepTransition
	w.transition.update(w.transition.ask(Choice{Make: true})())
	if text := ansi.Strip(w.View()); !strings.Contains(text, "is there already") || !strings.Contains(text, "hint: name another") {
		t.Errorf("the form says half of it:\n%s", text)
	}
}

// TestFailedLookHidesNothing: where the API server was away a run ends, and so does the
// look after it. What goes on then is seen, whatever that look has met.
func TestFailedLookHidesNothing(t *testing.T) {
	w := ran(t, Choice{Make: true}, errors.New("the API server is away"))
	w.took(lookMsg{err: &Problem{errors.New("no route to host"), "is the cluster reachable?"}})
	if text := ansi.Strip(w.View()); !strings.Contains(text, "no route to host") || !strings.Contains(text, "r looks again") {
		t.Fatalf("a failed look is not told:\n%s", text)
	}
	w.key(tea.KeyMsg{Type: tea.KeyEnter})
	w.transition.update(eventsMsg{events: fixtureEvents()})
	text := ansi.Strip(w.View())
	for _, want := range []string{"Now ", "Stop ", "Time "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is hidden while it runs:\n%s", want, text)
		}
	}
	if strings.Contains(text, "no route to host") || strings.Contains(text, "r looks again") {
		t.Errorf("it says what is over, and names a key that does nothing:\n%s", text)
	}
}
