package rotation

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/kubernetes/fake"
	"pgregory.net/rapid"
)

// The second operator is told who, since when and from where; a dead holder's
// Lease runs out and is taken over, and the dead one, awake again, may not go on.
func TestLeaseTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, kube := context.Background(), fake.NewClientset()
		first := &lease{kube: kube, namespace: "istio-system", holder: "ann@laptop/41", now: time.Now}
		second := &lease{kube: kube, namespace: "istio-system", holder: "bob@desk/7", now: time.Now}
		began := time.Now()
		if err := first.acquire(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if err := first.renew(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		err := second.acquire(ctx)
		var held *HeldError
		if !errors.Is(err, ErrHeld) || !errors.As(err, &held) || held.State.Holder != (Holder{"ann", "laptop", 41}) {
			t.Fatalf("the second got %v", err)
		}
		for _, want := range []string{"ann on laptop (process 41)", "since " + began.UTC().Format(time.RFC3339), "free at " + began.Add(90*time.Second).UTC().Format(time.RFC3339)} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
		time.Sleep(2 * time.Second)
		if state, err := ReadLease(ctx, kube, "istio-system", time.Now()); err != nil || state == nil || state.Alive || state.Holder.User != "ann" {
			t.Errorf("the dead holder: %+v, %v", state, err)
		}
		if err := second.acquire(ctx); err != nil {
			t.Fatalf("a dead holder's lease is not taken over: %v", err)
		}
		if err := first.renew(ctx); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "bob on desk") {
			t.Errorf("the dead one goes on: %v", err)
		}
		if err := first.release(ctx); err != nil {
			t.Fatal(err)
		}
		if state, err := ReadLease(ctx, kube, "istio-system", time.Now()); err != nil || state == nil || !state.Alive || state.Holder.User != "bob" {
			t.Errorf("the dead one has released the other's lease: %+v, %v", state, err)
		}
		if err := second.release(ctx); err != nil {
			t.Fatal(err)
		}
		if state, err := ReadLease(ctx, kube, "istio-system", time.Now()); err != nil || state != nil {
			t.Errorf("released, and still %+v, %v", state, err)
		}
	})
}

// A Lease is taken before it runs out only from the one that is named as dead; should
// that one live, its next renewal fails, and with it its next write.
func TestLeaseOfTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, kube := context.Background(), fake.NewClientset()
		first := &lease{kube: kube, namespace: "istio-system", holder: "ann@laptop/41", now: time.Now}
		second := &lease{kube: kube, namespace: "istio-system", holder: "bob@desk/7", now: time.Now}
		if err := first.acquire(ctx); err != nil {
			t.Fatal(err)
		}
		for _, dead := range []string{"", "ann@laptop/4", "ann@laptop/411", "ann on laptop (process 41)", "bob@desk/7"} {
			if second.dead = dead; !errors.Is(second.acquire(ctx), ErrHeld) {
				t.Errorf("taken from a living holder that was not named: %q", dead)
			}
		}
		if err := first.renew(ctx); err != nil {
			t.Fatal(err)
		}
		second.dead = "ann@laptop/41"
		if err := second.acquire(ctx); err != nil {
			t.Fatalf("not taken from the one that was named: %v", err)
		}
		if err := first.renew(ctx); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "bob on desk") {
			t.Errorf("the one that was named goes on: %v", err)
		}
	})
}

// A namesake is another holder: it takes no Lease that lives, and one that has lost it
// neither renews nor releases what its namesake has taken over; the very same process has
// it at once, for the answer to its first try may have been lost.
func TestLeaseOfANamesake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, kube := context.Background(), fake.NewClientset()
		first := newLease(kube, "istio-system", "root@ci/1", "", time.Now)
		second := newLease(kube, "istio-system", "root@ci/1", "", time.Now)
		for range 2 {
			if err := first.acquire(ctx); err != nil {
				t.Fatal(err)
			}
		}
		var held *HeldError
		if err := second.acquire(ctx); !errors.As(err, &held) || !held.namesake {
			t.Fatalf("a namesake ends with %v", err)
		}
		second.dead = "root@ci/1"
		if err := second.acquire(ctx); err != nil {
			t.Fatalf("not taken from the one that was named as dead: %v", err)
		}
		if err := first.renew(ctx); !errors.Is(err, ErrHeld) {
			t.Errorf("the one that has lost it goes on: %v", err)
		}
		if err := first.release(ctx); err != nil {
			t.Fatal(err)
		}
		if err := second.renew(ctx); err != nil {
			t.Errorf("its namesake has released it: %v", err)
		}
		if err := second.release(ctx); err != nil {
			t.Fatal(err)
		}
		if err := first.acquire(ctx); err != nil {
			t.Errorf("released, and still held: %v", err)
		}
	})
}

// A holder's name reads back as what was written, whoever wrote it.
func TestParseHolder(t *testing.T) {
	for text, want := range map[string]Holder{
		"ann@laptop/41": {"ann", "laptop", 41}, "CORP\\ann@x@laptop.local/1": {"CORP\\ann@x", "laptop.local", 1},
		"somebody": {User: "somebody"}, "a/b": {User: "a/b"}, "ann@h/x": {User: "ann@h/x"}, "": {},
	} {
		if got := ParseHolder(text); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a@/]{0,4}[0-9]{0,3}@?[a-z]{0,3}/[0-9]{0,3}`)).Draw(t, "holder")
		if got := ParseHolder(text).Identity(); got != text {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
