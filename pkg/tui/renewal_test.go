package tui_test

import (
	"context"
	"crypto/x509/pkix"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/plugin"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/tui"
)

// TestGuidedRenewal: Istio's own root, which only expires, gets a later end with the key
// that it has, as an operator would see it: a leaked key is refused first, and
// nothing fails when the old certificate has ended.
func TestGuidedRenewal(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, identity *age.X25519Identity) {
		root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{Organization: []string{"cluster.local"}}, Key: pki.ECDSAP256, Now: time.Now(), Lifetime: 40 * time.Hour, PathLen: -1})
		if err != nil {
			t.Fatal(err)
		}
		m, err := rehearsal.New(ctx, wall{}, rehearsal.Spec{CA: root, Source: mesh.CASelfSigned, MultiRoot: true, XDSAgent: true, Release: "1.30.3", Replicas: 2, TTL: time.Hour, Lag: time.Second,
			Workloads: []rehearsal.Workload{{Namespace: "web", Name: "front", Proxies: 3}}})
		if err != nil {
			t.Fatal(err)
		}
		d := &rehearsal.Demonstration{Name: "small", Mesh: m, Clock: wall{}, OldRoot: root}
		planned := func(b tui.Backend, reason tui.Reason) (string, error) {
			time.Sleep(time.Minute)
			plan, err := b.Plan(ctx, tui.Choice{Renew: true, Reason: reason, Recipient: identity.Recipient().String(), SealedFile: "planned.age"})
			if err != nil {
				return "", err
			}
			return plan.NewRoot.Fingerprint.String(), nil
		}
		b := plugin.DemoBackend(d)
		first, err := planned(b, tui.Expiring)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := planned(b, tui.Move); err != nil || first != second {
			t.Errorf("what was planned is not what would be rotated to: %s, %s, %v", first, second, err)
		}
		if _, err := planned(b, tui.Compromised); err == nil {
			t.Error("a leaked key, asked for after another reason, is certified anew")
		}
		o := drive(t, d, 80, 24)
		o.until("checks")
		o.press("3")
		o.until("New CA", "same key")
		recipient := identity.Recipient().String()
		o.press("right", "down", "right", "right", "down", "down", "right", "down", recipient, "enter", ending(identity), "enter", "enter", "enter")
		o.until("whoever has the leaked key has the new certificate's too")
		for range 7 {
			o.press("up")
		}
		o.press("right", "right") // from compromised over move to expiring
		for range 7 {
			o.press("down")
		}
		o.press("enter")
		o.until("same-key", "begin")
		o.press("enter", "demo-small", "enter")
		o.until("Done: every proxy trusts")
		o.press("4")
		o.until("Proven: every live certificate")
		noneFailed(t, m)
		time.Sleep(48 * time.Hour) // the old certificate has ended
		noneFailed(t, m)
		o.kill()
	})
}
