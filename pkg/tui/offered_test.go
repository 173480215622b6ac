package tui

import (
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/muesli/termenv"
)

// TestOffered: the bar offers what can be ordered now, and no time that is none.
func TestOffered(t *testing.T) {
	w := testWizard(termenv.Ascii, scripted{})
	w.took(lookMsg{look: fixture(8)})
	w.at = stepTransition
	p := w.transition
	p.stage, p.live, p.cancel = running, newLive(w.common, fixturePlan()), func() {}
	bar := func() string { return ansi.Strip(w.foot(200)) }
	if text := bar(); strings.Contains(text, "accept") || strings.Contains(text, "roll back") {
		t.Errorf("nothing is in the way, nothing is changed: %q", text)
	}
	for _, e := range fixtureEvents() {
		p.live.take(e)
	}
	if text := bar(); !strings.Contains(text, "a accept") || !strings.Contains(text, "b roll back") {
		t.Errorf("an unknown is in the way, and something is changed: %q", text)
	}
	p.live.cursor = 1 // seen to be wrong
	if text := bar(); strings.Contains(text, "accept") {
		t.Errorf("what was seen to be wrong cannot be accepted: %q", text)
	}
	if text := ansi.Strip(w.View()); strings.Contains(text, "press a to accept") {
		t.Errorf("nor is it said of it:\n%s", text)
	}
	p.live.entered = noon().Add(-10 * time.Second)
	p.live.take(rotation.Event{Time: noon(), Kind: rotation.EventGate, Phase: p.live.phase, Step: p.live.step, Gate: &rotation.Status{Proxies: rotation.Count{Ready: 39, Of: 40}, Blockers: []rotation.Blocker{{Kind: "proxy", Object: "a/b", Why: "lags"}}}})
	if text := p.live.time(); strings.Contains(text, "0:00 to this gate") {
		t.Errorf("it says %q", text)
	}
}
