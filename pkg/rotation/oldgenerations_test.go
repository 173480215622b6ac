package rotation_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
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

// Another's root that has cross-signed the old one stays, as all of others', and is told
// of: with it the old CA is accepted on.
func TestOldCAVouchedForByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other, _ := ca(t, "X")
		root, old := ca(t, "A")
		cross, err := other.CrossSign(root.Cert, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		warned := func(ahead bool, chain ...*pki.Certificate) []string {
			b := newBench(t, func(s *rehearsal.Spec) {
				small(s)
				signer := *old
				signer.Chain = chain
				if s.CA = &signer; ahead {
					s.Ahead = []*pki.Certificate{other.Cert}
				} else {
					s.Extra = []*pki.Certificate{other.Cert}
				}
			})
			s, err := b.collector().Collect(b.ctx)
			if err != nil {
				t.Fatal(err)
			}
			b.config.Reason = rotation.Compromised
			p := rotation.NewPlan(s, b.config)
			if p.OldRoot.Subject != "CN=root A" || len(p.Kept) != 1 || p.Kept[0].Subject != "CN=root X" {
				t.Errorf("old root %s, kept %+v", p.OldRoot.Subject, p.Kept)
			}
			exposed := slices.DeleteFunc(p.Exposed, func(line string) bool { return !strings.Contains(line, "CN=root X") })
			if i := slices.IndexFunc(p.Warnings, func(r rotation.Refusal) bool { return r.ID == "old-ca-vouched" }); i >= 0 {
				return append(exposed, p.Warnings[i].Object)
			}
			return exposed
		}
		for _, ahead := range []bool{false, true} {
			if told := warned(ahead, cross); len(told) != 2 || told[1] != "root CN=root X" {
				t.Errorf("ahead %t: told %q", ahead, told)
			}
			if told := warned(ahead); len(told) != 0 {
				t.Errorf("without a cross certificate: %q", told)
			}
		}
	})
}
