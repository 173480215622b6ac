package rotation_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// What a rotation has broken is not what is normal: a run that goes on holds its own count
// against the one from before the first write, writes nothing where more fails, and goes on
// once that is over. The way back is open all the time.
func TestResumeHoldsTrafficAgainstTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.engine.Baseline, b.engine.Timeout = 10*time.Second, time.Minute
		var sum proxy.Upstream
		broken := true
		b.counters = func(changed bool) proxy.Upstream {
			sum.Connections, sum.Requests, sum.Successes = sum.Connections+100, sum.Requests+100, sum.Successes+100
			if changed && broken {
				sum.ConnectFail += 30
			}
			return sum
		}
		var gate *rotation.GateError
		if err := b.run(); !errors.As(err, &gate) {
			t.Fatalf("first: %v", err)
		}
		n := len(b.events)
		if err := b.run(); !errors.Is(err, rotation.ErrWorse) {
			t.Errorf("it goes on over what it has broken: %v", err)
		}
		for _, e := range b.events[n:] {
			if e.Kind == rotation.EventWrite && e.Object == "secret istio-system/cacerts" {
				t.Errorf("it has written: %s", e.Message)
			}
		}
		broken = false
		if err := b.run(); err != nil {
			t.Fatalf("mended: %v", err)
		}
		b.ended()
	})
}
