package tui

import (
	"errors"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/muesli/termenv"
)

// TestPlanOfAnotherChoice: the plans of other strategies come when they come, also
// after another choice was made. None of them may stand for it.
func TestPlanOfAnotherChoice(t *testing.T) {
	for name, late := range map[string]func(planMsg) planMsg{
		"a plan": func(m planMsg) planMsg { return m },
		"a plan not": func(m planMsg) planMsg {
			return planMsg{asked: m.asked, choice: m.choice, err: errors.New("forbidden")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := testWizard(termenv.Ascii, scripted{plan: fixturePlan()})
			w.took(lookMsg{look: fixture(8)})
			w.at = stepTransition
			p := w.transition
			first := p.ask(Choice{Make: true, SealedFile: "first.age"})().(planMsg)
			p.update(first)
			hot := fixturePlan()
			hot.Strategy = rotation.HotBundle
			other := planMsg{asked: first.asked, choice: Choice{Make: true, SealedFile: "first.age", Strategy: rotation.HotBundle}, plan: hot}

			w.key(tea.KeyMsg{Type: tea.KeyEsc})
			second := p.ask(Choice{Root: "root.pem", SealedFile: "second.age"})
			p.update(late(other))
			if p.stage != planning || p.choice.Strategy != "" || p.err != nil {
				t.Fatalf("an answer to the choice before is taken: stage %d, strategy %q, %v", p.stage, p.choice.Strategy, p.err)
			}
			p.update(second())
			if p.stage != planned || p.choice.Root != "root.pem" {
				t.Errorf("stage %d, choice %+v", p.stage, p.choice)
			}
			p.update(late(other))
			if _, ok := p.plan.plans[rotation.HotBundle]; ok || p.stage != planned {
				t.Error("the plan of another CA can be chosen")
			}
		})
	}
}

// TestPlanningIsGivenUp: an API server that does not answer holds nobody.
func TestPlanningIsGivenUp(t *testing.T) {
	w := testWizard(termenv.Ascii, scripted{plan: fixturePlan()})
	w.took(lookMsg{look: fixture(8)})
	w.at = stepTransition
	p := w.transition
	ask := p.ask(Choice{Make: true})
	w.key(tea.KeyMsg{Type: tea.KeyEsc})
	if p.stage != choosing || p.plans.Err() == nil {
		t.Fatalf("stage %d, its looks go on: %v", p.stage, p.plans.Err() == nil)
	}
	if p.update(ask()); p.stage != choosing {
		t.Error("what was given up comes back")
	}
}
