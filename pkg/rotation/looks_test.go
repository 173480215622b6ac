package rotation

import (
	"fmt"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// Of many that lag a handful is asked, each in its turn; all are once one of them has
// followed, and after a while whatever they say. What was not read is always asked.
func TestHandfulIsAskedFirst(t *testing.T) {
	const size = 1000
	s, status := &mesh.Snapshot{}, Status{}
	for n := range size {
		p := mesh.Proxy{Namespace: "a", Name: fmt.Sprint(n), UID: fmt.Sprint(n), Loaded: &proxy.Loaded{}}
		if n == 0 {
			p.Loaded = nil
		}
		s.Proxies = append(s.Proxies, p)
		status.Blockers = append(status.Blockers, Blocker{Kind: "proxy", Object: p.Ref()})
	}
	l, now := newLooks(), time.Unix(0, 0)
	if known, partly := l.known(now, firstPoll); partly || len(known) > 0 {
		t.Fatalf("the first look leaves out %d", len(known))
	}
	l.keep(s, status)
	asked := map[string]bool{}
	for range size/handful + 1 {
		known, partly := l.known(now, firstPoll)
		if !partly || size-len(known) > 2*handful || known["0"] != nil {
			t.Fatalf("%d of %d are asked", size-len(known), size)
		}
		for n := range size {
			if known[fmt.Sprint(n)] == nil {
				asked[fmt.Sprint(n)] = true
			}
		}
		l.keep(s, status)
	}
	if len(asked) != size {
		t.Errorf("%d have had their turn, of %d", len(asked), size)
	}
	status.Blockers = status.Blockers[:size-1]
	l.keep(s, status)
	if known, partly := l.known(now, firstPoll); partly || len(known) != 1 {
		t.Errorf("one has followed, and %d are left out", len(known))
	}
	l.keep(s, status)
	if _, partly := l.known(now, firstPoll); !partly {
		t.Error("nobody has followed, and all are asked")
	}
	if _, partly := l.known(now.Add(wholeAtLeast), firstPoll); partly {
		t.Error("after a while not all are asked")
	}
}
