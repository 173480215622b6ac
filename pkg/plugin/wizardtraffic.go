package plugin

import (
	"context"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/rotation/traffic"
	"github.com/meshca/kubectl-meshca/pkg/tui"
)

const (
	// counterPause is the least between two readings of all counters, and counterShare
	// how many times as long as a reading took the pause is: what is shown beside a
	// rotation must not slow it down.
	counterPause = 10 * time.Second
	counterShare = 20
)

// count tells emit now and then what the proxies have counted since the run began.
// It judges nothing: that is the engine's, at each gate.
func (b *wizardBackend) count(ctx context.Context, emit func(rotation.Event)) {
	observer, err := b.connect()
	if err != nil {
		return // the run fails by the same
	}
	var watch traffic.Watch
	for {
		began := b.clock.Now()
		s, err := observer.collector.Read(ctx, mesh.Parts{Proxies: true, Counters: true})
		if ctx.Err() != nil {
			return
		}
		if err == nil { // one that fails is shown by its age
			watch.Add(s.TakenAt, s.Proxies)
			watch.Change()
			verdict := watch.Verdict()
			emit(rotation.Event{Time: b.clock.Now(), Kind: tui.KindTraffic, Traffic: &verdict, Message: verdict.String()})
		}
		select {
		case <-ctx.Done():
			return
		case <-b.clock.After(max(counterPause, counterShare*b.clock.Now().Sub(began))):
		}
	}
}
