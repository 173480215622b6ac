package tui

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/exp/golden"
	"github.com/charmbracelet/x/exp/teatest"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/muesli/termenv"
	"go.uber.org/goleak"
)

func testWizard(profile termenv.Profile, b Backend) *Wizard {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(profile)
	return newWizard(context.Background(), common{bound: newKeyMap(), styles: newStyles(r), now: noon}, b)
}

// scene is a state of the wizard that is drawn.
type scene struct {
	name string
	show func(w *Wizard)
}

func scenes() []scene {
	at := func(step int) func(w *Wizard) { return func(w *Wizard) { w.at = step } }
	press := func(w *Wizard, keys ...tea.KeyMsg) {
		for _, k := range keys {
			w.key(k)
		}
	}
	enter, down := tea.KeyMsg{Type: tea.KeyEnter}, tea.KeyMsg{Type: tea.KeyDown}
	letter := func(r rune) tea.KeyMsg { return tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}} }
	planning := func(w *Wizard) {
		w.at = stepTransition
		w.transition.ask(Choice{Make: true, Reason: Expiring})
		w.transition.update(planMsg{asked: w.transition.asked, plan: fixturePlan()})
	}
	live := func(w *Wizard) {
		planning(w)
		w.transition.stage, w.transition.live = running, newLive(w.common, fixturePlan())
		w.transition.cancel = func() {}
		w.transition.update(eventsMsg{events: fixtureEvents(), ended: false})
	}
	return []scene{
		{"check", at(stepCheck)},
		{"check, details", func(w *Wizard) { press(w, down, down, enter) }},
		{"versions", at(stepVersions)},
		{"transition, form", at(stepTransition)},
		{"transition, plan", planning},
		{"transition, confirm", func(w *Wizard) { planning(w); press(w, enter) }},
		{"transition, live", live},
		{"transition, paused", func(w *Wizard) {
			live(w)
			w.transition.update(eventsMsg{events: []rotation.Event{{Time: noon(), Kind: rotation.EventPaused, Phase: rotation.SignNew, Step: "cross-signed chain", Message: "paused: nothing is written until it is resumed"}}})
		}},
		{"transition, accept", func(w *Wizard) { live(w); press(w, letter('a'), letter('d'), letter('r')) }},
		{"transition, roll back?", func(w *Wizard) { live(w); press(w, letter('b'), letter('p'), enter) }},
		{"transition, going back", func(w *Wizard) {
			live(w)
			w.transition.steered(steeredMsg{order: Order{Act: RollBack}})
			back := fixturePlan()
			w.transition.update(eventsMsg{events: []rotation.Event{{Time: noon(), Kind: rotation.EventPlan, Plan: back}}})
		}},
		{"transition, stop?", func(w *Wizard) { live(w); press(w, tea.KeyMsg{Type: tea.KeyCtrlC}) }},
		{"transition, result", func(w *Wizard) {
			live(w)
			w.transition.update(eventsMsg{ended: true, err: &Problem{errors.New("phase sign-new: 2 in the way"), "mend what is named"}})
		}},
		{"transition, under way", func(w *Wizard) {
			l := fixture(8)
			l.Underway = &Underway{ID: "3f1a9c22b0", Strategy: rotation.CrossSign, Phase: rotation.SignNew, Holder: "ann@laptop/4711", NewRoot: "CN=mesh root 2026,O=Acme"}
			w.seen = nil
			w.took(lookMsg{look: l})
		}},
		{"transition, the way back", func(w *Wizard) {
			w.at = stepTransition
			w.transition.ask(Choice{Resume: true, Back: true})
			w.transition.update(planMsg{asked: w.transition.asked, choice: Choice{Resume: true, Back: true}, plan: fixturePlan()})
		}},
		{"transition, runs elsewhere", func(w *Wizard) {
			l := fixture(8)
			l.Underway = &Underway{ID: "3f1a9c22b0", Strategy: rotation.CrossSign, Phase: rotation.SignNew, Holder: "ann on laptop (process 4711)", Running: true, NewRoot: "CN=mesh root 2026,O=Acme"}
			w.seen = nil
			w.took(lookMsg{look: l})
		}},
		{"verify", at(stepVerify)},
		{"envoy", at(stepEnvoy)},
		{"envoy, details", func(w *Wizard) { w.at = stepEnvoy; press(w, down, enter) }},
		{"keys", func(w *Wizard) { press(w, tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("?")}) }},
		{"no cluster", func(w *Wizard) {
			w.seen = nil
			w.took(lookMsg{err: &Problem{errors.New("connection refused"), "is the cluster reachable?"}})
		}},
	}
}

// TestFrames draws every scene at three sizes without colour, and at one in
// sixteen colours. Every frame has exactly its size, no escape of the cluster's,
// and its keys.
func TestFrames(t *testing.T) {
	for _, size := range []struct {
		width, height int
		profile       termenv.Profile
	}{{80, 24, termenv.Ascii}, {120, 40, termenv.Ascii}, {200, 60, termenv.Ascii}, {80, 24, termenv.ANSI}} {
		t.Run(fmt.Sprintf("%dx%d-%s", size.width, size.height, size.profile.Name()), func(t *testing.T) {
			var all bytes.Buffer
			for _, s := range scenes() {
				w := testWizard(size.profile, scripted{seen: fixture(300), plan: fixturePlan()})
				w.Update(tea.WindowSizeMsg{Width: size.width, Height: size.height})
				w.took(lookMsg{look: fixture(300)})
				s.show(w)
				frame := w.View()
				check80(t, s.name, frame, size.width, size.height)
				fmt.Fprintf(&all, "== %s\n%s\n", s.name, trimRight(frame))
			}
			golden.RequireEqual(t, all.Bytes())
		})
	}
}

func check80(t *testing.T, name, frame string, width, height int) {
	t.Helper()
	lines := strings.Split(frame, "\n")
	if len(lines) != height {
		t.Errorf("%s: %d lines, not %d", name, len(lines), height)
	}
	for i, line := range lines {
		if w := ansi.StringWidth(line); w > width {
			t.Errorf("%s, line %d is %d wide: %q", name, i, w, line)
		}
	}
	if strings.Contains(frame, "\a") || strings.Contains(frame, "\x1b]") || strings.Contains(frame, "\x1b[2J") || strings.Contains(frame, "\u202e") {
		t.Errorf("%s: text of the cluster reaches the terminal unescaped", name)
	}
	if last := ansi.Strip(lines[len(lines)-1]); !strings.Contains(last, "quit") && !strings.Contains(last, "ctrl+c") {
		t.Errorf("%s: the keys are cut off: %q", name, last)
	}
}

func trimRight(frame string) string {
	lines := strings.Split(frame, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// TestSmallScreens draws on screens below what is promised, each key of a page pressed
// there: nothing panics. Panes are split, and windows made small, with a passphrase half
// typed.
func TestSmallScreens(t *testing.T) {
	every := append(scenes(), scene{"transition, files", func(w *Wizard) {
		w.at = stepTransition
		w.transition.form.source.chosen, w.transition.form.sealTo.chosen = 1, 1
	}})
	keys := []tea.KeyMsg{{Type: tea.KeyDown}, {Type: tea.KeyDown}, {Type: tea.KeyDown}, {Type: tea.KeyDown}, {Type: tea.KeyDown}, {Type: tea.KeyEnter}, {Type: tea.KeyPgDown}, {Type: tea.KeyEnd}, {Type: tea.KeyEsc}}
	for _, s := range every {
		for _, height := range []int{0, 8, 9, 10, 11, 12, 14, 17, leastHeight - 1} {
			for _, width := range []int{0, 40, leastWidth - 1} {
				w := testWizard(termenv.Ascii, scripted{seen: fixture(30), plan: fixturePlan()})
				w.took(lookMsg{look: fixture(30)})
				s.show(w)
				w.Update(tea.WindowSizeMsg{Width: width, Height: height})
				for _, k := range keys {
					drawn(t, s.name, w)
					w.key(k)
				}
				drawn(t, s.name, w)
			}
		}
	}
}

// drawn draws, and fails where that panics.
func drawn(t *testing.T, name string, w *Wizard) {
	t.Helper()
	defer func() {
		if why := recover(); why != nil {
			t.Fatalf("%s on %dx%d: %v", name, w.width, w.height, why)
		}
	}()
	w.View()
}

// TestProgram runs the wizard as Bubble Tea does, and leaves nothing behind.
func TestProgram(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("github.com/charmbracelet/x/exp/teatest.NewTestModel.func2")) // waits for a signal forever
	ctx, cancel := context.WithCancel(context.Background())
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(termenv.Ascii)
	w := newWizard(ctx, common{bound: newKeyMap(), styles: newStyles(r), now: noon}, scripted{seen: fixture(30), plan: fixturePlan()})
	program := teatest.NewTestModel(t, w, teatest.WithInitialTermSize(80, 24))
	teatest.WaitFor(t, program.Output(), func(out []byte) bool { return bytes.Contains(out, []byte("1 error, 1 warning")) }, teatest.WithDuration(time.Minute))
	program.Send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("5")})
	teatest.WaitFor(t, program.Output(), func(out []byte) bool { return bytes.Contains(out, []byte("not before")) }, teatest.WithDuration(time.Minute))
	program.Send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("q")})
	program.WaitFinished(t, teatest.WithFinalTimeout(time.Minute))
	cancel()
	w.wg.Wait()
}

// TestFilter narrows and sorts the Envoys.
func TestFilter(t *testing.T) {
	w := testWizard(termenv.Ascii, scripted{})
	w.took(lookMsg{look: fixture(300)})
	w.at = stepEnvoy
	p := w.pages[stepEnvoy].(*envoyPage)
	for _, k := range []string{"/", "unreadable", "q"} {
		w.key(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)})
	}
	if len(p.shown) != 0 {
		t.Errorf("a letter of the filter was taken for a key: %d are shown", len(p.shown))
	}
	w.key(tea.KeyMsg{Type: tea.KeyBackspace})
	if len(p.shown) != 6 {
		t.Errorf("%d of 300 are unreadable, not 6", len(p.shown))
	}
	w.key(tea.KeyMsg{Type: tea.KeyEsc})
	w.key(tea.KeyMsg{Type: tea.KeyEsc})
	w.key(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("s")})
	if len(p.shown) != 300 || p.all[p.shown[0]].State != "unreadable" {
		t.Errorf("sorted by state the worst does not come first: %+v", p.all[p.shown[0]])
	}
}

// BenchmarkFrame is one frame of 200x60 and one key over so many Envoys: what it
// costs does not grow with them, for only what is visible is drawn.
func BenchmarkFrame(b *testing.B) {
	for _, n := range []int{100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := testWizard(termenv.ANSI, scripted{})
			w.took(lookMsg{look: fixture(n)})
			w.at = stepEnvoy
			w.Update(tea.WindowSizeMsg{Width: 200, Height: 60})
			for b.Loop() {
				w.key(tea.KeyMsg{Type: tea.KeyDown})
				w.View()
			}
		})
	}
}

// TestForm: what is said to be a secret is not drawn, and a plan needs what
// rotate needs.
func TestForm(t *testing.T) {
	f := newForm(common{bound: newKeyMap(), now: noon}, "arn:aws:eks/prod eu", noon())
	if got := f.file.input.Value(); got != "meshca-arn-aws-eks-prod-eu-20261125-1200.age" {
		t.Errorf("the sealed file is called %q", got)
	}
	for _, c := range []struct {
		set  func()
		want string
	}{
		{func() {}, "the passphrase is empty"},
		{func() { f.word.input.SetValue("one"); f.again.input.SetValue("two") }, "the two passphrases differ"},
		{func() { f.again.input.SetValue("one") }, ""},
		{func() { f.sealTo.chosen = 1 }, "name an age recipient (age1...), or choose a passphrase"},
		{func() { f.recipient.input.SetValue("age1abcdefgh"); f.ending.input.SetValue("bcdefghi") }, "the last 8 characters of the recipient are other ones"},
		{func() { f.ending.input.SetValue("abcdefgh"); f.source.chosen = 1 }, "root, certificate and key of the new CA must be named"},
	} {
		c.set()
		_, err := f.choice()
		if got := fmt.Sprint(err); got != c.want && (c.want != "" || err != nil) {
			t.Errorf("it says %q, not %q", got, c.want)
		}
	}
	f.source.chosen, f.sealTo.chosen = 0, 0
	if strings.Contains(f.view(80, 24), "one") && strings.Contains(strings.ReplaceAll(f.view(80, 24), "once", ""), "one ") {
		t.Error("the passphrase is drawn")
	}
	c, err := f.choice()
	if err != nil || c.Recipient != "" || c.Passphrase != "one" {
		t.Errorf("what is not shown is asked for all the same: %+v %v", c, err)
	}
}
