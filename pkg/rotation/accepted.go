package rotation

import (
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// fact is what is unknown of an object, in the same words each time: its details change
// with every try.
func (b Blocker) fact() string {
	if b.Kind != "proxy" {
		return ""
	}
	if b.unread {
		return "unread"
	}
	fact, _, _ := strings.Cut(b.Why, ":")
	return fact
}

func (b Blocker) sameFact(o Blocker) bool {
	return b.Kind == o.Kind && b.Object == o.Object && b.fact() == o.fact()
}

// takes remembers what a gate has opened over.
func (r *run) takes(status Status) {
	for _, b := range status.Accepted {
		if !slices.ContainsFunc(r.taken[b.Object], b.sameFact) {
			if r.taken == nil {
				r.taken = map[string][]Blocker{}
			}
			r.taken[b.Object] = append(r.taken[b.Object], b)
		}
	}
}

// known takes out of what was accepted what a gate before has not opened over: who took
// it upon himself that a proxy cannot be read has said nothing of one that is read, and
// whose answer depends. It is accepted by a word more, or by the next run.
func (r *run) known(s *mesh.Snapshot, status Status) Status {
	var accepted []Blocker
	for _, b := range status.Accepted {
		if b.Kind == "vm" && r.plan.leafLife > 0 && r.plan.vmLife == nil {
			// How long its certificate may live is waited for nowhere in this plan.
			b.Why += " (it came since this was planned: run this again)"
			status.Blockers = append(status.Blockers, b)
			continue
		}
		before := r.taken[b.Object]
		if len(before) == 0 || slices.ContainsFunc(before, b.sameFact) {
			accepted = append(accepted, b)
			continue
		}
		b.Why += " (what was accepted of it was another fact: " + before[0].Why + "; accept it anew)"
		status.Blockers = append(status.Blockers, b)
	}
	status.Accepted = accepted
	return r.withRemedies(s, status)
}
