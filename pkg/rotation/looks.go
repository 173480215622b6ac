package rotation

import (
	"maps"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

const (
	// handful is about how many of those that lag are asked first, where there are twice
	// as many: a push reaches all within seconds or nobody, and ten thousand
	// port-forwards ten times a second would only keep the API server from it.
	handful = 32
	// All that lag are asked after wholePauses pauses, whatever a handful of them says,
	// and not before wholeAtLeast has gone by.
	wholePauses  = 4
	wholeAtLeast = 2 * time.Second
)

// looks is what a gate knows of proxies by its looks so far, by the UID of their
// pods.
type looks struct {
	settled map[string]*proxy.Loaded // as expected
	lagging []reading                // read, and not yet as expected; the Snapshot's order
	turn    int                      // whose turn it is to be asked
	moved   bool                     // the last look showed that somebody has followed
	waits   int                      // how many of those who follow a push lag
	whole   time.Time                // when all were asked
	silent  bool                     // the last look at nodes showed kubelets that say nothing
}

// reading is what one proxy has loaded, by the UID of its pod.
type reading struct {
	uid    string
	loaded *proxy.Loaded
}

func newLooks() *looks { return &looks{settled: map[string]*proxy.Loaded{}} }

func (l *looks) none() bool { return len(l.settled)+len(l.lagging) == 0 }

// known are the readings that the next look, after such a pause, need not do again;
// partly says that not all that lag are asked.
func (l *looks) known(now time.Time, pause time.Duration) (known map[string]*proxy.Loaded, partly bool) {
	stride := len(l.lagging) / handful
	if stride < 2 || l.moved || now.Sub(l.whole) >= max(wholePauses*pause, wholeAtLeast) {
		l.whole = now
		return l.settled, false
	}
	known = maps.Clone(l.settled)
	for n, lags := range l.lagging {
		if n%stride != l.turn%stride {
			known[lags.uid] = lags.loaded
		}
	}
	l.turn++
	return known, true
}

// keep remembers what a look has shown.
func (l *looks) keep(s *mesh.Snapshot, status Status) {
	blocked := status.blocked()
	if len(s.Nodes) > 0 {
		l.silent = len(s.Unheard(silentAfter(s))) > 0
	}
	before := len(l.settled)
	l.forget()
	for _, p := range s.Proxies {
		switch {
		case p.Loaded == nil:
		case blocked[p.Ref()]:
			l.lagging = append(l.lagging, reading{p.UID, p.Loaded})
		default:
			l.settled[p.UID] = p.Loaded
		}
	}
	l.moved = len(l.settled) > before
}

// forget has the next look ask everybody.
func (l *looks) forget() {
	l.settled, l.lagging = map[string]*proxy.Loaded{}, nil
}
