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
	read := b.counted
	if read == nil {
		var watch traffic.Watch
		read = func(ctx context.Context) (traffic.Verdict, error) {
			s, err := observer.collector.Read(ctx, mesh.Parts{Proxies: true, Counters: true})
			if err != nil {
				return traffic.Verdict{}, err
			}
			watch.Add(s.TakenAt, s.Proxies)
			watch.Change()
			return watch.Verdict(), nil
		}
	}
	for {
		began := b.clock.Now()
		verdict, err := read(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil { // one that fails is shown by its age
			emit(rotation.Event{Time: b.clock.Now(), Kind: tui.KindTraffic, Traffic: &verdict, Message: verdict.String()})
		}
		select {
		case <-ctx.Done():
			return
		case <-b.clock.After(max(counterPause, counterShare*b.clock.Now().Sub(began))):
		}
	}
}
