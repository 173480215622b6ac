package rotation_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What a way back has left is looked at before the next way there, ConfigMaps too: the
// new root may be in them still, beside the old one, and no other may.
func TestBeginsAfterAWayBack(t *testing.T) {
	_, foreign := ca(t, "F")
	for name, row := range map[string]struct {
		holds  func(*bench) []*pki.Certificate
		closed bool
	}{
		"what it was":       {holds: func(b *bench) []*pki.Certificate { return b.old.Roots.Certs }},
		"both roots":        {holds: func(b *bench) []*pki.Certificate { return slices.Concat(b.old.Roots.Certs, b.new.Roots.Certs) }},
		"the new one alone": {holds: func(b *bench) []*pki.Certificate { return b.new.Roots.Certs }, closed: true},
		"a third besides":   {holds: func(b *bench) []*pki.Certificate { return slices.Concat(b.old.Roots.Certs, foreign.Roots.Certs) }, closed: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, small)
				b.engine.Until = rotation.TrustNew
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				b.engine.Until, b.engine.Back = "", true
				if err := b.run(); err != nil {
					t.Fatalf("back: %v", err)
				}
				maps := b.mesh.Kube.CoreV1().ConfigMaps("b")
				trust, err := maps.Get(b.ctx, "istio-ca-root-cert", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				trust.Data["root-cert.pem"], trust.Immutable = string(pki.NewBundle(row.holds(b)...).Raw), new(true)
				if _, err := maps.Update(b.ctx, trust, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
				b.events, b.engine.Until, b.engine.Back = nil, rotation.Prepare, false
				err = b.run()
				var gate *rotation.GateError
				if row.closed {
					if !errors.As(err, &gate) || gate.TimedOut || !slices.ContainsFunc(gate.Status.Blockers, func(b rotation.Blocker) bool { return b.Object == "b/istio-ca-root-cert" }) {
						t.Errorf("it ends with %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				i := slices.IndexFunc(b.events, func(e rotation.Event) bool { return e.Kind == rotation.EventPassed && e.Phase == rotation.Prepare })
				if i < 0 || b.events[i].Gate.ConfigMaps.Of == 0 || b.events[i].Gate.Webhooks.Of == 0 {
					t.Errorf("it opens on nothing: %+v", b.events)
				}
			})
		})
	}
}
