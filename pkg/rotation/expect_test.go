package rotation_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// A proxy of which one live context still uses another leaf than the rest keeps
// the gate closed: with that leaf it would be refused once the old root is gone.
func TestOneContextBehindIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s, err := b.collector().Collect(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Gaps = nil
		b.prober.Probe(b.ctx, s, b.old.Roots.Certs)
		expect, ok := rotation.Present(s)
		if !ok {
			t.Fatal("no roots")
		}
		if status := expect.Judge(s, nil); !status.Open() {
			t.Fatalf("a whole mesh is not proven: %v", status.Blockers)
		}
		p := &s.Proxies[0]
		p.Loaded.Contexts = append(p.Loaded.Contexts, proxy.Context{SPIFFE: p.Loaded.Identities[0].SPIFFE, LeafSerial: "beef"})
		status := expect.Judge(s, nil)
		if status.Open() || status.Blockers[0].Object != p.Ref() || !strings.Contains(status.Blockers[0].Why, "beef") {
			t.Errorf("it passes: %v", status.Blockers)
		}
	})
}
