package tui

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/muesli/termenv"
)

// late is a rotation that tells its first write when it is stopped in the middle of it.
type late struct{ scripted }

func (b late) Rotate(ctx context.Context, _ Choice, emit func(rotation.Event)) error {
	<-ctx.Done()
	emit(rotation.Event{Time: noon(), Kind: rotation.EventWrite, Phase: rotation.Prepare, Object: "secret istio-system/meshca-staged"})
	emit(rotation.Event{Time: noon(), Kind: rotation.EventWrite, Phase: rotation.TrustNew, Object: "secret istio-system/cacerts"})
	return context.Cause(ctx)
}

// TestLastWrite: a terminal that is lost while something is written hides nothing of it
// from who is told how to go on.
func TestLastWrite(t *testing.T) {
	for range 50 { // who takes the last word is a race
		ctx, hangUp := context.WithCancel(context.Background())
		w := testWizard(termenv.Ascii, late{scripted{seen: fixture(8), plan: fixturePlan()}})
		p := w.transition
		p.ctx = ctx
		w.took(lookMsg{look: fixture(8)})
		p.update(p.ask(Choice{Make: true})())
		p.start()
		screen := make(chan struct{})
		go func() { p.feed.next(ctx)(); close(screen) }() // its answer reaches nobody
		hangUp()
		w.wg.Wait()
		left := w.outcome(ctx)
		if left.Resume == "" || strings.Contains(left.Means, "nothing has been changed") {
			t.Fatalf("after a write it says %+v", left)
		}
		select {
		case <-screen:
		case <-time.After(time.Minute):
			t.Fatal("who waits for news is not let go")
		}
	}
}
