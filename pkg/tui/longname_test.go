package tui

import (
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/muesli/termenv"
)

// TestNameToType: a name that has to be typed is on the screen, all of it, on the
// smallest one that is promised; EKS calls clusters by their ARN.
func TestNameToType(t *testing.T) {
	wrote := rotation.Event{Time: noon(), Kind: rotation.EventWrite, Object: "secret istio-system/meshca-staged"}
	for _, name := range []string{
		"prod-eu-1",
		"arn:aws:eks:eu-central-1:123456789012:cluster/payments",
		"arn:aws:eks:ap-southeast-2:123456789012:cluster/team-payments-and-ledger-production-" + strings.Repeat("blue-", 12) + "end",
		"gke_" + strings.Repeat("東京", 30) + "_prod",
	} {
		for what, show := range map[string]func(*Wizard){
			"begin": func(w *Wizard) { w.transition.stage = confirming; w.transition.confirm.Focus() },
			"roll back": func(w *Wizard) {
				w.transition.start()
				w.transition.update(eventsMsg{events: append(fixtureEvents(), wrote)})
				w.key(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("b")})
			},
		} {
			l := fixture(8)
			l.Cluster = name
			w := testWizard(termenv.Ascii, scripted{seen: l, plan: fixturePlan()})
			w.took(lookMsg{look: l})
			w.at = stepTransition
			w.transition.update(w.transition.ask(Choice{Make: true})())
			show(w)
			frame := w.View()
			check80(t, what+" "+name, frame, 80, 24)
			_, body, _ := strings.Cut(ansi.Strip(frame), "─\n") // the head may cut it
			if squeezed := strings.Join(strings.Fields(body), ""); !strings.Contains(squeezed, name) {
				t.Errorf("%s: %q is not there to be read:\n%s", what, name, ansi.Strip(frame))
			}
		}
	}
}
