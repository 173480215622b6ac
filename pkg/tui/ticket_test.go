package tui

import (
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/muesli/termenv"
)

// TestTicketFigures: what a rotation took is in its ticket as it was counted.
func TestTicketFigures(t *testing.T) {
	l := newLive(testWizard(termenv.Ascii, scripted{}).common, fixturePlan())
	l.take(rotation.Event{Time: noon(), Kind: rotation.EventDone, Message: "every proxy trusts the new root",
		Figures: &rotation.Figures{Engine: 61.5, Waits: 240, Restarts: 2, Workloads: 317, Nudges: 3, Proxies: 320}})
	text := ticket(fixture(8), Choice{}, l, nil, "", noon())
	const want = "engine 61.5 s, waits 240.0 s, 320 proxies, 2 istiods restarted, 317 workload pods restarted, 3 nudges"
	if !strings.Contains(text, want) {
		t.Errorf("the ticket does not say %q:\n%s", want, text)
	}
}
