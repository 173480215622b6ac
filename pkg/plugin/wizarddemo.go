package plugin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/rotation/traffic"
	"github.com/meshca/kubectl-meshca/pkg/tui"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// demoPatience is how long, on the mesh's clock, a demonstration shows a closed
// gate before it does what an operator would.
const demoPatience = 90 * time.Second

// demoBackend is the wizard's over a mesh in memory.
type demoBackend struct {
	*wizardBackend
	demo *rehearsal.Demonstration

	mu     sync.Mutex
	closed time.Time // since when the straggler alone is waited for
}

// DemoBackend does on a built-in mesh what the commands do on a cluster.
func DemoBackend(d *rehearsal.Demonstration) tui.Backend {
	o := defaultOptions()
	o.trustFileWait = 0 // agents of this release re-read their file
	return &demoBackend{demo: d, wizardBackend: &wizardBackend{
		connect: func() (*observer, error) {
			return &observer{collector: d.Mesh.Collector(), prober: d.Mesh.Prober(false)}, nil
		},
		clock: d.Clock, cluster: "demo-" + d.Name, options: o,
		counted: func(context.Context) (traffic.Verdict, error) { // every pair's, as the demonstration without a wizard shows them
			t := d.Mesh.Traffic()
			return traffic.Verdict{Until: d.Clock.Now(), Counted: traffic.Counters{Connections: t.Handshakes, ConnectFail: t.HandshakesFailed, Requests: t.Requests, Errors: t.RequestsFailed}}, nil
		},
	}}
}

// Rotate plays the operator too: what hangs is replaced after a while.
func (b *demoBackend) Rotate(ctx context.Context, c tui.Choice, emit func(rotation.Event)) error {
	var one sync.Mutex // the operator's word comes from beside
	plainly := emit
	emit = func(e rotation.Event) {
		one.Lock()
		defer one.Unlock()
		plainly(e)
	}
	return b.wizardBackend.Rotate(ctx, c, func(e rotation.Event) {
		emit(e)
		if e.Gate != nil {
			b.help(ctx, *e.Gate, emit)
		}
	})
}

func (b *demoBackend) help(ctx context.Context, s rotation.Status, emit func(rotation.Event)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	alone := len(s.Blockers) == 1 && s.Blockers[0].Object == b.demo.Straggler
	if !alone || !b.closed.IsZero() {
		return
	}
	b.closed = b.clock.Now()
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-b.clock.After(demoPatience):
		}
		did, err := b.demo.Act()
		if err != nil {
			did = err.Error()
		}
		emit(b.said(rotation.EventWarning, "the demonstration does what you would: "+did))
	}()
}

// Command is "" for what would carry on: the mesh is gone with its process.
func (b *demoBackend) Command(c tui.Choice) string {
	if c.Resume {
		return ""
	}
	return "kubectl meshca demo --wizard --scenario " + b.demo.Name
}

// said is an Event of the demonstration's own.
func (b *demoBackend) said(kind rotation.EventKind, message string) rotation.Event {
	return rotation.Event{Time: b.clock.Now(), Kind: kind, Message: message}
}

// runDemoWizard shows the wizard on a mesh in memory.
func runDemoWizard(ctx context.Context, d *rehearsal.Demonstration, streams genericiooptions.IOStreams, lines bool, color string) error {
	err := wizardOn(ctx, tui.Options{Backend: DemoBackend(d), Now: d.Clock.Now, Color: color}, streams, lines)
	if err != nil {
		fmt.Fprintf(streams.ErrOut, "this mesh was in memory and is gone. Begin again with: kubectl meshca demo --wizard --scenario %s\n", d.Name)
	}
	return err
}
