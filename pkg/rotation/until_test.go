package rotation_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A run goes no further than it was asked to: not where nothing but the first gate was
// asked for, and not where that phase is behind already.
func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		version := func() string {
			secret, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Get(b.ctx, "cacerts", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return secret.ResourceVersion
		}
		stops := func(until rotation.Phase) (written bool) {
			t.Helper()
			before := version()
			b.events, b.engine.Until = nil, until
			if err := b.run(); err != nil {
				t.Fatalf("until %s: %v", until, err)
			}
			if last := b.events[len(b.events)-1]; last.Kind != rotation.EventStopped {
				t.Errorf("until %s: it ends with %s: %s", until, last.Kind, last.Message)
			}
			return version() != before
		}
		if stops(rotation.Prepare) {
			t.Error("until prepare the CA is written")
		}
		if !stops(rotation.SignNew) {
			t.Error("until sign-new nothing is written")
		}
		if stops(rotation.SignNew) {
			t.Error("until the phase that it stands in the CA is written")
		}
		at := version()
		b.engine.Until = rotation.TrustNew
		if err := b.run(); !errors.Is(err, rotation.ErrPast) || version() != at {
			t.Errorf("until a phase that is behind: %v", err)
		}
		// And on the way back, from before the phase that is named.
		b.engine.Back, b.engine.Until = true, rotation.TrustNew
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		at = version()
		b.engine.Until = rotation.SignNew
		if err := b.run(); !errors.Is(err, rotation.ErrPast) || version() != at {
			t.Errorf("back to a phase that is behind: %v", err)
		}
		b.engine.Back = false
		b.engine.Until = rotation.Done
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.whole()
		b.ended()
	})
}
