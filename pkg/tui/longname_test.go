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

// TestLongNamespaces: namespaces that differ at their ends are told apart in every row,
// and named whole one key away, to who hears them, and where there is room.
func TestLongNamespaces(t *testing.T) {
	long := "team-payments-and-ledger-production-eu-central-1-" // 63 with its end
	blue, green := long+"blue-namespace", long+"green-namespac"
	l := fixture(0)
	for _, namespace := range []string{blue, green} {
		for _, revision := range []string{"canary-2026-11-a", "canary-2026-11-b"} {
			l.Versions = append(l.Versions, Version{Namespace: namespace, Name: "api-0", Kind: "sidecar", Revision: revision, Release: "1.30.3", Verdict: "ok"})
		}
	}
	status := &rotation.Status{Proxies: rotation.Count{Ready: 1, Of: 4}, Namespaces: []rotation.Progress{{Namespace: blue, Proxies: 2, Ready: 1}, {Namespace: green, Proxies: 2}}}
	for _, width := range []int{80, 200} {
		w := testWizard(termenv.Ascii, scripted{})
		w.took(lookMsg{look: l})
		w.at = stepVersions
		rows := func() map[string]bool {
			all := map[string]bool{}
			for _, line := range strings.Split(ansi.Strip(w.pages[w.at].view(width, 20)), "\n") {
				if strings.Contains(line, "sidecar") {
					all[strings.TrimLeft(line, "> ")] = true
				}
			}
			return all
		}
		if len(rows()) != 4 {
			t.Errorf("%d columns: rows are alike:\n%s", width, ansi.Strip(w.pages[w.at].view(width, 20)))
		}
		w.key(tea.KeyMsg{Type: tea.KeyEnter})
		if text := ansi.Strip(w.pages[w.at].view(width, 20)); !strings.Contains(text, blue) || !strings.Contains(text, "canary-2026-11-a") {
			t.Errorf("%d columns: the details cut too:\n%s", width, text)
		}
		live := newLive(w.common, fixturePlan())
		live.take(rotation.Event{Time: noon(), Kind: rotation.EventGate, Phase: rotation.SignNew, Gate: status})
		bars := live.bars(width, 9)
		if len(bars) != 4 || strings.Fields(bars[2])[0] == strings.Fields(bars[3])[0] {
			t.Errorf("%d columns: bars are alike:\n%s", width, strings.Join(bars, "\n"))
		}
		for _, line := range bars {
			if ansi.StringWidth(line) > width {
				t.Errorf("%d columns: a bar is %d wide", width, ansi.StringWidth(line))
			}
		}
	}
	p := newVersionsPage(testWizard(termenv.Ascii, scripted{}).common)
	p.look(l)
	if told := p.told(); len(told) != 4 || !strings.Contains(told[0].text, long) {
		t.Errorf("told is %+v", told)
	}
}
