package tui_test

import (
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/charmbracelet/x/ansi"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// begin has a driver plan and begin a rotation of a small mesh for a reason that is
// so many keys to the right of the first.
func begin(t *testing.T, o *driver, recipient string, reason int) {
	t.Helper()
	o.until("checks passed")
	o.press("3")
	o.until("New CA")
	for range reason {
		o.press("right")
	}
	o.press("down", "down", "down", "right", "down", recipient, "enter", recipient[len(recipient)-8:], "enter", "enter", "enter")
	o.until("hot-bundle: all 5 proxies")
	o.press("enter", "demo-small", "enter")
}

// TestOrders: a pause keeps everything as it is, the way back needs the cluster's
// name and something to go back from, and ends where it began; then the rotation is
// turned forward again.
func TestOrders(t *testing.T) {
	onSmallMesh(t, func(t *testing.T, d *rehearsal.Demonstration, identity *age.X25519Identity) {
		o := drive(t, d, 80, 24)
		begin(t, o, identity.Recipient().String(), 0)
		if o.press("b"); !o.shows("there is nothing to go back from") {
			t.Errorf("a way back from nothing is offered:\n%s", ansi.Strip(o.frame()))
		}
		o.until("Phase 2 of 5, trust-new", "secret istio-system/cacerts: both roots")
		o.press("p")
		o.until("Paused in phase 2 of 5, trust-new")
		d.Mesh.Thaw(d.Straggler)
		if _, err := d.Act(); err != nil {
			t.Fatal(err)
		}
		o.until("proven: 5 of 5 proxies")
		still := time.After(10 * time.Minute)
		for waiting := true; waiting; {
			select {
			case m := <-o.news:
				o.update(m)
			case <-still:
				waiting = false
			}
		}
		if !o.shows("Paused in phase 3 of 5, sign-new", "Nothing of this phase is written yet. Safe: the old CA still signs") {
			t.Errorf("ten minutes after its gate has opened it did not hold:\n%s", ansi.Strip(o.frame()))
		}
		o.press("b")
		o.until("Roll back: over sign-new, trust-new, prepare", "type the cluster's name")
		o.press("small", "enter")
		o.until("that is not the cluster's name: nothing was ordered")
		o.press("esc")
		o.until("Paused in phase 3")
		o.press("b", "demo-small", "enter")
		o.until("Rolled back: the mesh trusts CN=root A")
		o.kill()

		o = drive(t, d, 80, 24)
		o.until("checks passed")
		o.press("3")
		o.until("was rolled back: the old CA is the mesh's alone")
		o.press("b")
		o.until("begin")
		o.press("enter", "demo-small", "enter")
		o.until("Done: every proxy trusts")
		o.kill()
	})
}

// TestNoWayBackToAKnownKey: the plain command's refusal is the wizard's, and the
// rotation goes on.
func TestNoWayBackToAKnownKey(t *testing.T) {
	onSmallMesh(t, func(t *testing.T, d *rehearsal.Demonstration, identity *age.X25519Identity) {
		o := drive(t, d, 80, 24)
		begin(t, o, identity.Recipient().String(), 1)
		o.until("Phase 2 of 5, trust-new")
		o.press("b", "demo-small", "enter")
		o.until("roll back: the old CA is compromised")
		o.until("the demonstration does what you would")
		o.until("Done: every proxy trusts")
		if text := ansi.Strip(o.frame()); strings.Contains(text, string(rotation.RolledBack)) {
			t.Errorf("it went back:\n%s", text)
		}
		o.kill()
	})
}
