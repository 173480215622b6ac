package plugin

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"k8s.io/client-go/kubernetes/fake"
)

// TestSignalledRun: who stops a run, or whose terminal goes, is told how to go on, and in
// the direction it went.
func TestSignalledRun(t *testing.T) {
	for _, test := range []struct {
		signal  syscall.Signal
		code    int
		of      func(error) error
		goingOn string
	}{
		{syscall.SIGINT, 130, func(err error) error { return ended(err, false) }, "'kubectl meshca rotate' with the same flags"},
		{syscall.SIGTERM, 143, func(err error) error { return ended(err, true) }, "'kubectl meshca rollback' with the same flags"},
		{syscall.SIGHUP, 129, managedOutcome, "run the same command again"},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		engine := &rotation.Engine{Kube: fake.NewClientset(), Clock: wallClock{}, Holder: "a@b/1", Emit: func(e rotation.Event) {
			if e.Kind == rotation.EventPlan {
				cancel(signalled{test.signal})
			}
		}}
		err := engine.Run(ctx, &rotation.Plan{ID: "x", Namespace: "istio-system", Secret: "cacerts", Layout: mesh.CAPlugged}, nil)
		if err == nil {
			t.Fatal("it has heard no signal")
		}
		// What the engine was at may be named before it.
		for _, err := range []error{err, fmt.Errorf("reading the journal: %w", err)} {
			if code, hint := codeOf(test.of(err)); code != test.code || !strings.Contains(hint, test.goingOn) {
				t.Errorf("%s: exit %d, %q", test.signal, code, hint)
			}
		}
		cancel(nil)
	}
}
