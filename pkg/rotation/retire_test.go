package rotation_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// What is kept of both CAs is destroyed only while nobody else is at work on them, and by
// what the journal says then: who was asked for the rotation's ID may have been asked for
// long, and the way back may have begun meanwhile.
func TestRetireUnderTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		id, whole := b.kept().ID, b.ctx
		retire := func() error {
			return rotation.Retire(whole, b.mesh.Kube, "somebody@desk/7", time.Now, "istio-system", id)
		}
		ctx, kill := context.WithCancelCause(b.ctx)
		b.ctx, b.engine.Back, b.config.Back = ctx, true, true
		b.after(rotation.EventWrite, rotation.SignNew, func() {
			if err := retire(); !errors.Is(err, rotation.ErrHeld) {
				t.Errorf("under a way back it ends with %v", err)
			}
			kill(errors.New("killed"))
		})
		if err := b.run(); err == nil {
			t.Fatal("the way back was not killed")
		}
		b.ctx = whole
		if err := retire(); !errors.Is(err, rotation.ErrOpen) {
			t.Errorf("half-way back it ends with %v", err)
		}
		if err := b.run(); err != nil {
			t.Fatalf("the way back does not go on: %v", err)
		}
		if err := retire(); err != nil {
			t.Errorf("once it has ended, retire ends with %v", err)
		}
		if staged, err := rotation.FindStaged(whole, b.mesh.Kube, "istio-system"); staged != nil || err != nil {
			t.Errorf("it is kept still, or unknown: %v", err)
		}
		if held, err := rotation.ReadLease(whole, b.mesh.Kube, "istio-system", time.Now()); held != nil || err != nil {
			t.Errorf("the lease is left with %v, %v", held, err)
		}
	})
}
