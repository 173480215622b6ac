package tui

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// planView shows a plan, and what the other strategies would cost.
type planView struct {
	items
	plans map[rotation.Strategy]*rotation.Plan
	shown *rotation.Plan
	// back is true for a way back.
	back bool
	// stop is what a stop means before it is begun: of a rotation under way, where that
	// stands.
	stop string
}

func newPlanView(c common) *planView {
	return &planView{items: items{common: c}, plans: map[rotation.Strategy]*rotation.Plan{}, stop: "Nothing has been changed."}
}

// add keeps a plan; the first is shown.
func (v *planView) add(p *rotation.Plan, first bool) {
	v.plans[p.Strategy] = p
	if first {
		v.shown = p
	}
	v.draw()
}

func (v *planView) show(s rotation.Strategy) {
	if p, ok := v.plans[s]; ok {
		v.shown = p
		v.draw()
	}
}

// another is the next strategy that could be chosen.
func (v *planView) another() (rotation.Strategy, bool) {
	all := rotation.Strategies()
	at := slices.Index(all, v.shown.Strategy)
	for i := 1; i < len(all); i++ {
		s := all[(at+i+len(all))%len(all)]
		if _, ok := v.plans[s]; ok && s != v.shown.Strategy {
			return s, true
		}
	}
	return "", false
}

func (v *planView) runnable() bool { return v.shown != nil && len(v.shown.Refusals) == 0 }

func costOf(p *rotation.Plan) string {
	if p.AlreadyDone {
		return "None: nothing is written."
	}
	text := plural(len(p.Course()), "write")
	if n := p.Written(); n > 0 {
		text = fmt.Sprintf("%d of %s left; all of it: %s", len(p.Course())-n, text, text)
	}
	if p.Cost.CSRs > 0 {
		text += fmt.Sprintf("; %s at once, %s", plural(p.Cost.CSRs, "certificate request"), plural(p.Cost.Bursts, "time"))
	}
	text += fmt.Sprintf("; %s restarted, no workload restarted", plural(p.Cost.IstiodRestarts, "istiod"))
	if p.Cost.WorkloadRestarts > 0 {
		text = strings.Replace(text, "no workload restarted", plural(p.Cost.WorkloadRestarts, "workload")+" restarted", 1)
	}
	if p.Cost.LongestWait > 0 {
		text += "; renewals take up to " + span(p.Cost.LongestWait)
	}
	if p.Cost.FileWaits > 0 {
		text += "; waits for files " + span(p.Cost.FileWaits)
	}
	if v := p.Cost.VirtualMachines; v != nil {
		text += "; " + v.String()
	}
	return text + "."
}

func (v *planView) draw() {
	p := v.shown
	var all []item
	for _, r := range p.Refusals {
		all = append(all, item{symbol: symbolBad, text: "refused: " + r.Object + ": " + r.Why, detail: []string{"hint    " + r.Hint, "reason  " + r.ID}})
	}
	for _, r := range p.Warnings {
		all = append(all, item{symbol: symbolWarn, text: r.Object + ": " + r.Why, detail: []string{"hint    " + r.Hint}})
	}
	options, steps := p.Options, p.Course()
	if v.back {
		options, steps = nil, p.Back
	}
	for _, o := range options {
		i := item{symbol: symbolAhead, text: fmt.Sprintf("%-17s %s", o.Strategy, o.Why)}
		other, priced := v.plans[o.Strategy]
		switch {
		case !o.Possible:
			i.symbol, i.text = symbolBad, fmt.Sprintf("%-17s not possible: %s", o.Strategy, o.Why)
		case o.Strategy == p.Strategy:
			i.symbol = symbolHere
		}
		if priced {
			i.detail = []string{"cost    " + costOf(other)}
		}
		all = append(all, i)
	}
	for n, s := range steps {
		symbol, note := symbolNote, ""
		if n < p.Written() {
			if v.back {
				continue // from further on than it stands
			}
			symbol = symbolGood
		}
		if s.Restart {
			note = " (istiod restarts)"
		}
		all = append(all, item{symbol: symbol, text: fmt.Sprintf("%d %-15s %s%s", n+1, s.Phase, s.About, note), detail: []string{"stop    " + v.stopMeans(s.Phase)}})
	}
	brief := func(what string, b rotation.Brief) {
		if b.Subject != "" {
			all = append(all, item{symbol: symbolNote, text: fmt.Sprintf("%-17s %s, until %s", what, commonName(b.Subject), day(b.NotAfter)), detail: []string{"subject " + b.Subject, "sha256  " + b.Fingerprint.String()}})
		}
	}
	brief("old root", p.OldRoot)
	brief("new root", p.NewRoot)
	brief("new signer", p.NewSigner)
	for _, k := range p.Kept {
		brief("kept root", k)
	}
	if len(p.Cost.Lagging) > 0 {
		all = append(all, item{symbol: symbolNote, text: "last to come      " + strings.Join(p.Cost.Lagging, ", ")})
	}
	v.set(all)
}

// stopMeans is what a stop in a phase of the plan means.
func (v *planView) stopMeans(p rotation.Phase) string {
	if v.back {
		return stopMeansBack
	}
	return stopMeans(v.shown.Strategy, p)
}

func (v *planView) facts() []fact {
	p := v.shown
	if len(p.Refusals) > 0 {
		r := p.Refusals[0]
		return []fact{{"Found", "Refused: " + r.Object + ": " + r.Why + "."}, {"Hint", r.Hint}, {"Next", "esc goes back to the form."}, {"Cost", "None: planning only reads."}, {"Stop", v.stop}}
	}
	next := "enter asks for the cluster's name and begins."
	if p.AlreadyDone {
		return []fact{{"Found", p.Summary()}, {"Next", next}, {"Cost", costOf(p)}, {"Stop", v.stop}}
	}
	if v.back {
		return []fact{
			{"Found", fmt.Sprintf("The way back to %s: %s, each step proven on every live proxy before the next.", commonName(p.OldRoot.Subject), wayBack(p))},
			{"Next", next}, {"Cost", plural(len(p.Back)-p.Written(), "write") + "; gated like the way there, so that its waits may come again."}, {"Stop", stopMeansBack},
		}
	}
	return []fact{{"Found", fmt.Sprintf("%s: %s.", p.Strategy, p.Why)}, {"Next", next}, {"Cost", costOf(p)}, {"Stop", v.stop}}
}
