package rotation_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// spoiler changes what is seen of b/app-1.
type spoiler struct {
	*bench
	mu    sync.Mutex // a timer may change it while somebody looks
	spoil func(*mesh.Proxy)
}

func (o *spoiler) become(spoil func(*mesh.Proxy)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spoil = spoil
}

func (o *spoiler) Observe(ctx context.Context, what rotation.Observation) (*mesh.Snapshot, error) {
	s, err := o.bench.Observe(ctx, what)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range s.Proxies {
		if s.Proxies[i].Ref() == "b/app-1" && what.Proxies {
			o.spoil(&s.Proxies[i])
		}
	}
	return s, nil
}

func unread(p *mesh.Proxy) { p.Loaded, p.Error = nil, "dial: refused" }

func without(p *mesh.Proxy) { p.Loaded = &proxy.Loaded{} }

// What was accepted was one fact. Another one about the same object keeps a later gate
// closed until it is accepted too: on the command line by the next run, in a session by
// a word more. Nothing is opened silently.
func TestAcceptedIsOneFact(t *testing.T) {
	for name, row := range map[string]struct {
		later  func(*mesh.Proxy)
		again  bool // it is accepted once more while the gate waits
		closed bool
	}{
		"the same":                   {later: unread},
		"the same in other words":    {later: func(p *mesh.Proxy) { p.Loaded, p.Error = nil, "i/o timeout" }},
		"another":                    {later: without, closed: true},
		"another, and accepted anew": {later: without, again: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				o := &spoiler{bench: b, spoil: unread}
				orders := make(chan rotation.Command, 1)
				b.engine.Observer, b.engine.Accept, b.engine.Timeout, b.engine.Commands = o, map[string]string{"b/app-1": "it is seen elsewhere"}, 5*time.Minute, orders
				said, ordered := 0, false
				b.engine.Emit = func(e rotation.Event) {
					b.events = append(b.events, e)
					switch {
					case e.Kind == rotation.EventPassed && e.Gate.Proxies.Of > 0 && !e.Gate.Listed:
						if strings.Contains(e.Message, "b/app-1") {
							said++
						} else {
							t.Errorf("it opens silently: %s", e.Message)
						}
						if e.Phase == rotation.TrustNew {
							o.become(row.later)
						}
					case e.Kind == rotation.EventGate && strings.Contains(e.Message, "b/app-1") && row.again && !ordered:
						ordered = true
						orders <- rotation.Command{Kind: rotation.CommandAccept, Object: "b/app-1", Reason: "that too"}
					}
				}
				err := b.run()
				var gate *rotation.GateError
				switch {
				case !row.closed && err != nil:
					t.Errorf("it ends with %v", err)
				case row.closed && (!errors.As(err, &gate) || !strings.Contains(err.Error(), "b/app-1") || !strings.Contains(err.Error(), "accepted")):
					t.Errorf("it ends with %v", err)
				}
				if said == 0 || row.again != ordered {
					t.Errorf("said %d times, ordered %v", said, ordered)
				}
				if row.closed { // the next run is asked anew
					if err := b.run(); err != nil {
						t.Errorf("once more, it ends with %v", err)
					}
				}
				b.whole()
			})
		})
	}
}

// The way back asks for its own: what was accepted on the way there opens nothing.
func TestAcceptedForOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.engine.Observer, b.engine.Timeout, b.engine.Until = &spoiler{bench: b, spoil: unread}, 5*time.Minute, rotation.TrustNew
		b.engine.Accept = map[string]string{"b/app-1": "it is seen elsewhere"}
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.engine.Accept, b.engine.Until, b.engine.Back, b.config.Back = nil, "", true, true
		err := b.run()
		var gate *rotation.GateError
		if !errors.As(err, &gate) || !strings.Contains(err.Error(), "b/app-1") {
			t.Errorf("it ends with %v", err)
		}
		all, err := rotation.Journals(b.ctx, b.mesh.Kube, "istio-system")
		if err != nil || len(all) != 1 || len(all[0].Accepted) > 0 || len(all[0].Exceptions) == 0 {
			t.Errorf("%+v, %v", all, err)
		}
	})
}
