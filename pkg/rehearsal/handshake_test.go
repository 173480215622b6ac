package rehearsal_test

import (
	"context"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
)

// What the rules of a verifier do not see by themselves, TLS does: a key that is not
// the certificate's, a chain that is not sent, a leaf past its end.
func TestHandshakesAreReal(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(*rehearsal.Mesh)
		why   string // "" where none may fail
		of    string // who has a part in every failure; "" for everybody
	}{
		"whole":         {spoil: func(m *rehearsal.Mesh) { _ = m.Hang("a/app-0") }},
		"wrong key":     {func(m *rehearsal.Mesh) { m.WrongKey("a/app-1") }, "tls: ", "a/app-1"},
		"chain unsent":  {func(m *rehearsal.Mesh) { m.ShortChain("a/app-1") }, "no issuer of", "a/app-1"},
		"leaf at end":   {func(m *rehearsal.Mesh) { m.Mute(); time.Sleep(2 * time.Hour) }, "expired", ""},
		"one leaf ends": {func(m *rehearsal.Mesh) { _ = m.Hang("a/app-1"); time.Sleep(2 * time.Hour) }, "expired", "a/app-1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "root"}, Now: time.Now()})
				if err != nil {
					t.Fatal(err)
				}
				signer, err := root.NewIntermediate(pki.Request{Subject: pkix.Name{CommonName: "signer"}, Now: time.Now()})
				if err != nil {
					t.Fatal(err)
				}
				m, err := rehearsal.New(ctx, wall{}, rehearsal.Spec{CA: signer, Release: "1.30.3", Replicas: 1, Namespaces: []string{"a"}, Proxies: 3, TTL: time.Hour, Lag: time.Second})
				if err != nil {
					t.Fatal(err)
				}
				if kinds, leaves := m.Shaken(); kinds != 1 || leaves != 3 {
					t.Errorf("at the start %d kinds of pairs and %d leaves have met by TLS", kinds, leaves)
				}
				row.spoil(m)
				time.Sleep(time.Second)
				failed, _ := m.Failures()
				if (len(failed) > 0) != (row.why != "") {
					t.Fatalf("%d failed: %v", len(failed), failed)
				}
				for _, f := range failed {
					if !strings.Contains(f.Reason, row.why) || row.of != "" && f.Client != row.of && f.Server != row.of {
						t.Errorf("%s to %s: %s", f.Client, f.Server, f.Reason)
					}
				}
			})
		})
	}
}
