package rotation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// quarantine waits one lifetime of a leaf before the i-th step, where somebody could
// not be read at the last gate and was accepted, and may not have what that gate asked
// for: what it presents and trusts comes with its next certificate, and the one of
// before has expired by then. Whoever a push reaches has had it in seconds, so that only
// a step that takes a root away waits for those. There is nothing to wait for where all
// were read, before the first write, nor where the root keeps its key: its new
// certificate vouches for all of it. outlived are those who were waited for before this step
// already; waited says that somebody was now.
func (r *run) quarantine(ctx context.Context, steps []Step, i int, outlived map[string]bool) (waited bool, err error) {
	if i == 0 || r.plan.reissue || len(r.unseen) == 0 {
		return false, nil
	}
	unseen := slices.DeleteFunc(slices.Clone(r.unseen), func(b Blocker) bool { return outlived[b.Object] })
	removes := takesAway(steps[i-1].Roots, steps[i].Roots)
	if !removes && r.pushed {
		return false, nil
	}
	since := r.at
	for key, at := range r.journal.state.Proven {
		if removes && !r.Back && strings.HasPrefix(key, string(SignNew)+"/") && at.Before(since) {
			since = at // from then on nobody signs with the old CA
		}
	}
	left := since.Add(r.plan.leafLife).Sub(r.at)
	if left <= 0 || len(unseen) == 0 {
		return false, nil
	}
	until := "it has had its next certificate"
	if removes {
		until = "every certificate of before has expired"
	}
	r.emit(Event{Kind: EventWait, Until: r.Clock.Now().Add(left), Message: fmt.Sprintf("%s until %s: %s could not be read (%d in all)", left.Round(time.Second), until, unseen[0].Object, len(unseen))})
	for _, b := range unseen {
		outlived[b.Object] = true
	}
	return true, r.let(ctx, left)
}

// takesAway reports whether a root of one bundle is not in the next.
func takesAway(before, after []byte) bool {
	kept := mustCerts(after)
	return slices.ContainsFunc(mustCerts(before), func(c *pki.Certificate) bool { return !slices.ContainsFunc(kept, c.Equal) })
}

// allPushed reports whether a push reaches each of these proxies.
func allPushed(s *mesh.Snapshot, unseen []Blocker) bool {
	for _, b := range unseen {
		i := slices.IndexFunc(s.Proxies, func(p mesh.Proxy) bool { return p.Ref() == b.Object })
		if b.Kind != "proxy" || i < 0 || s.Proxies[i].Reach != mesh.ReachPush {
			return false
		}
	}
	return true
}
