package rotation_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// A webhook that no istiod writes is waited for, and it is said who has to write it; one
// that nobody has written anything into is not.
func TestWebhookWrittenByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s := wholeMesh(t, b)
		expect, _ := rotation.Present(s)
		_, other := ca(t, "other")
		w := &s.Webhooks[0]
		w.CABundle, w.ByHand = other.Roots, "INJECTION_WEBHOOK_CONFIG_NAME is empty"
		if status := expect.Judge(s, nil); status.Open() || !strings.Contains(status.Blockers[0].Why, "no istiod writes it (INJECTION_WEBHOOK_CONFIG_NAME is empty)") {
			t.Errorf("%v", status.Blockers)
		}
		w.CABundle, w.Blank, w.Error = pki.Bundle{}, true, "caBundle: nothing"
		if status := expect.Judge(s, nil); !status.Open() {
			t.Errorf("no root is in it, and none is to be: %v", status.Blockers)
		}
	})
}

// An istiod that takes no token that could be asked for proves nothing, and it is said what
// goes on.
func TestTokenTakenForNobodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s := wholeMesh(t, b)
		expect, _ := rotation.Present(s)
		expect.CSRProof = true
		r := &s.ControlPlanes[0].Replicas[0]
		r.Signed, r.SignedError, r.ProofRefused = nil, "unauthenticated", true
		if status := expect.Judge(s, nil); status.Open() || !strings.Contains(status.Blockers[0].Why, "--no-csr-proof") {
			t.Errorf("%v", status.Blockers)
		}
	})
}
