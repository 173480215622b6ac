package rotation_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
)

// The old root goes with all that the bundle has of it: other certificates of its key, and
// its intermediates. What stayed would vouch for the old CA on, though the root was proven
// to be gone. Roots of others stay.
func TestOldRootGoesInAllItsCertificates(t *testing.T) {
	const twin, signer = "twin", "signer"
	for about, row := range map[string]struct{ ahead, behind []string }{
		"certified anew, behind":       {behind: []string{twin}},
		"certified anew, ahead":        {ahead: []string{twin}},
		"its intermediate, ahead":      {ahead: []string{signer}},
		"its intermediate, behind":     {behind: []string{signer}},
		"both, the intermediate first": {ahead: []string{signer, twin}},
	} {
		t.Run(about, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root, old := ca(t, "A")
				foreign, _ := ca(t, "X")
				renewed, err := root.RenewRoot(time.Now(), 0)
				if err != nil {
					t.Fatal(err)
				}
				certs := func(names []string) (all []*pki.Certificate) {
					for _, n := range names {
						all = append(all, map[string]*pki.Certificate{twin: renewed.Cert, signer: old.Cert}[n])
					}
					return all
				}
				b := newBench(t, func(s *rehearsal.Spec) {
					small(s)
					s.CA, s.Ahead, s.Extra = old, certs(row.ahead), append(certs(row.behind), foreign.Cert)
				})
				b.oldRoot, b.old = root, old
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				if p := b.events[0].Plan; p.OldRoot.Subject != root.Cert.Subject() || len(p.Kept) != 1 || p.Kept[0].Fingerprint != foreign.Cert.Fingerprint() {
					t.Errorf("old root %s, kept %+v", p.OldRoot.Subject, p.Kept)
				}
				s, err := b.collector().Collect(b.ctx)
				if err != nil {
					t.Fatal(err)
				}
				roots := s.ControlPlanes[0].CA.Root.Certs
				if answer := pki.Verify(pki.Question{Judge: pki.Envoy, Roots: roots, Chain: []*pki.Certificate{old.Cert}, At: time.Now(), Usage: pki.AnyUsage}); answer.Result != pki.Refused {
					t.Errorf("at the end the old CA is %s: %s", answer.Result, answer.Reason)
				}
				if !slices.ContainsFunc(roots, foreign.Cert.Equal) {
					t.Error("another's root is gone")
				}
				b.engine.Back, b.config.Back = true, true
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				if s, err = b.collector().Collect(b.ctx); err != nil {
					t.Fatal(err)
				}
				if n := len(s.ControlPlanes[0].CA.Root.Certs); n != 2+len(row.ahead)+len(row.behind) {
					t.Errorf("%d roots on the way back", n)
				}
			})
		})
	}
}
