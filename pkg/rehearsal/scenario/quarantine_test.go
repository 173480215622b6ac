package scenario_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// What is no more as it was proven before a wait for somebody unread keeps the next step
// from being written, by name.
func TestAfterAQuarantineItIsProvenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.mesh.Freeze("b/app-1")
		b.trial.Accept = map[string]string{"b/app-1": "it is looked at by hand"}
		waits := 0
		b.trial.Emit = func(e rotation.Event) {
			if e.Kind == rotation.EventWait && strings.Contains(e.Message, "could not be read") {
				waits++
				b.mesh.Freeze("a/app-0")
			}
		}
		before := b.secret("cacerts").ResourceVersion
		out := b.trial.Run(b.ctx)
		var gate *rotation.GateError
		if !errors.As(out.Err, &gate) || gate.Phase != rotation.SignNew || !strings.Contains(out.Err.Error(), "a/app-0") {
			t.Errorf("after %d waits it ends with %v", waits, out.Err)
		}
		roots := b.secret("cacerts").Data["root-cert.pem"]
		if waits != 1 || before == b.secret("cacerts").ResourceVersion || !strings.Contains(string(roots), string(b.oldRoot.Cert.PEM())) {
			t.Errorf("%d waits; the old root has gone from the Secret", waits)
		}
		b.mesh.Thaw("a/app-0")
		b.trial.Emit = nil
		if out := b.trial.Run(b.ctx); out.Err != nil {
			t.Errorf("mended, it ends with %v", out.Err)
		}
		if failed := b.failed(); len(failed) > 0 {
			t.Error(failed[0])
		}
	})
}
