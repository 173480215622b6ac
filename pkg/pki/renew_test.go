package pki_test

import (
	"bytes"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
	"pgregory.net/rapid"
)

// anyRoot is a self-signed root such as openssl, step, Citadel, istiod or a PKI's
// own tool makes it.
func anyRoot(t *rapid.T) *pki.Authority {
	m := maker(rapid.Uint64().Draw(t, "seed"))
	c := &pairs.Cert{DN: "root", From: -time.Duration(rapid.IntRange(1, 3000).Draw(t, "age in days")) * 24 * time.Hour, To: 48 * time.Hour,
		NoSKI: rapid.Bool().Draw(t, "no SKI"), NoAKI: rapid.Bool().Draw(t, "no AKI"), PathLen: rapid.SampledFrom([]int{0, 2, 3}).Draw(t, "path length"), NoKU: rapid.Bool().Draw(t, "no key usage")}
	if !c.NoSKI && rapid.Bool().Draw(t, "odd SKI") {
		c.SKI = rapid.SliceOfN(rapid.Byte(), 1, 32).Draw(t, "SKI")
	}
	if !c.NoAKI && rapid.Bool().Draw(t, "AKI with serial") {
		c.Serial, c.AKISerial = 77, 77
	}
	switch rapid.IntRange(0, 3).Draw(t, "key") {
	case 0:
		c.Key = pairs.RSA(0)
	case 1:
		c.Key = pairs.RSA(1)
	}
	if rapid.Bool().Draw(t, "name constraints") {
		c.Extra = []pkix.Extension{pairs.URIConstraint(6, true, "cluster.local")}
	}
	if rapid.IntRange(0, 4).Draw(t, "an odd name") == 0 {
		c.Raw = pairs.Name(20, "root") // a T61String, which no x509 template writes
	}
	cert := m.Make(c)
	if cert.X509 == nil {
		t.Skip("Go does not read it")
	}
	return &pki.Authority{Cert: cert, Key: c.Key, Roots: pki.NewBundle(cert)}
}

// TestS6_RenewedRootIsNeutral: whoever trusts the old certificate, the new one or
// both, in any order, accepts what was issued under either. What is looked up by is
// the same, byte for byte.
func TestS6_RenewedRootIsNeutral(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := anyRoot(t)
		renewed, err := old.RenewRoot(clock, 0)
		if err != nil {
			t.Fatal(err)
		}
		o, n := old.Cert.X509, renewed.Cert.X509
		switch {
		case !bytes.Equal(o.RawSubject, n.RawSubject), !bytes.Equal(o.RawSubject, n.RawIssuer), !bytes.Equal(o.RawSubjectPublicKeyInfo, n.RawSubjectPublicKeyInfo):
			t.Fatal("name or key differ")
		case !bytes.Equal(o.SubjectKeyId, n.SubjectKeyId) || (o.SubjectKeyId == nil) != (n.SubjectKeyId == nil):
			t.Fatalf("the key identifier was %x and is %x", o.SubjectKeyId, n.SubjectKeyId)
		case o.SerialNumber.Cmp(n.SerialNumber) == 0:
			t.Fatal("the serial number is the old one")
		case !n.NotBefore.Equal(clock.Add(-pki.Backdating)) || !n.NotAfter.Equal(clock.Add(pki.RootLifetime)):
			t.Fatalf("it holds from %s to %s", n.NotBefore, n.NotAfter)
		case extensions(old.Cert) != extensions(renewed.Cert):
			t.Fatalf("extensions\n%s\nwere\n%s", extensions(renewed.Cert), extensions(old.Cert))
		}
		for _, f := range pki.LintPair(old, renewed, clock) {
			if f.Severity == pki.SeverityError {
				t.Fatalf("lint of the pair: %s %s", f.ID, f.Message)
			}
		}
		under := func(root *pki.Authority) []*pki.Certificate {
			if o.MaxPathLen != 0 && rapid.Bool().Draw(t, "by way of an intermediate") {
				signer, err := root.NewIntermediate(pki.Request{Subject: named("intermediate"), Now: clock})
				if err != nil {
					t.Fatal(err)
				}
				return []*pki.Certificate{issue(t, signer), signer.Cert}
			}
			return []*pki.Certificate{issue(t, root), root.Cert}
		}
		for issuer, chain := range map[string][]*pki.Certificate{"the old root": under(old), "the new root": under(renewed)} {
			for name, roots := range map[string][]*pki.Certificate{"old": {old.Cert}, "new": {renewed.Cert}, "old, new": {old.Cert, renewed.Cert}, "new, old": {renewed.Cert, old.Cert}} {
				for _, judge := range judges() {
					for _, minor := range []int{0, 28} {
						if judge == pki.Webpki && strings.Contains(extensions(old.Cert), "2.5.29.30") {
							continue // name constraints are not judged here for ztunnel
						}
						if minor > 0 && judge != pki.Envoy {
							continue
						}
						for _, usage := range []pki.Usage{pki.ClientAuth, pki.ServerAuth} {
							answer := pki.Verify(pki.Question{Judge: judge, Roots: roots, Chain: chain, At: clock, Usage: usage, EnvoyMinor: minor})
							if answer.Result != pki.Accepted {
								t.Fatalf("%s trusts %s, issued by %s: %s (%s)", judge, name, issuer, answer.Result, answer.Reason)
							}
						}
					}
				}
			}
		}
	})
}

func issue(t *rapid.T, a *pki.Authority) *pki.Certificate {
	key, err := pki.ECDSAP256.Generate()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.IssueLeaf(pki.LeafRequest{SPIFFE: "spiffe://cluster.local/ns/a/sa/b", Public: key.Public(), Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// extensions lists all but the authority key identifier.
func extensions(c *pki.Certificate) string {
	var all []string
	for _, e := range c.X509.Extensions {
		if e.Id.String() != "2.5.29.35" {
			all = append(all, fmt.Sprint(e.Id, e.Critical, e.Value))
		}
	}
	return strings.Join(all, "\n")
}

// TestS6_AnotherIdentifierIsNotNeutral: what the renewal guards against is real: the
// same key and name under another identifier is refused by Envoy, and by lint.
func TestS6_AnotherIdentifierIsNotNeutral(t *testing.T) {
	m := maker(1)
	key := m.Key()
	old := &pairs.Cert{DN: "root", Key: key, SKI: []byte{1}}
	other := &pairs.Cert{DN: "root", Key: key, SKI: []byte{2}}
	leaf := m.Make(&pairs.Cert{DN: "leaf", By: old, BC: pairs.BCNone, NoKU: true, SPIFFE: "spiffe://cluster.local/ns/a/sa/b"})
	q := pki.Question{Judge: pki.Envoy, Roots: []*pki.Certificate{m.Make(other)}, Chain: []*pki.Certificate{leaf}, At: clock, Usage: pki.ClientAuth}
	if answer := pki.Verify(q); answer.Result == pki.Accepted {
		t.Error("an Envoy accepts it: then nothing is gained by copying")
	}
	findings := pki.LintPair(&pki.Authority{Cert: m.Make(old), Roots: pki.NewBundle(m.Make(old))}, &pki.Authority{Cert: m.Make(other), Roots: pki.NewBundle(m.Make(other))}, clock)
	if !slices.ContainsFunc(findings, func(f pki.Finding) bool { return f.ID == "same-key-other-ski" && f.Severity == pki.SeverityError }) {
		t.Errorf("lint does not say so: %v", findings)
	}
}

// TestS2_ExpiredRootIsRenewed: it is what an outage is ended with.
func TestS2_ExpiredRootIsRenewed(t *testing.T) {
	m := maker(1)
	c := &pairs.Cert{DN: "root", Key: m.Key(), From: -48 * time.Hour, To: -24 * time.Hour}
	old := &pki.Authority{Cert: m.Make(c), Key: c.Key}
	renewed, err := old.RenewRoot(clock, 30*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if until := renewed.Cert.X509.NotAfter; !until.Equal(clock.Add(30 * 24 * time.Hour)) {
		t.Errorf("it holds until %s", until)
	}
}

// TestS6_WhatIsNotRenewed: only the holder of a root's own key renews it.
func TestS6_WhatIsNotRenewed(t *testing.T) {
	root := newRoot(t, "root")
	m := maker(1)
	plain := &pairs.Cert{DN: "r", Key: m.Key(), BC: pairs.BCFalse}
	for name, test := range map[string]struct {
		of   *pki.Authority
		at   time.Time
		life time.Duration
		want string
	}{
		"an intermediate": {below(t, root, "intermediate", 0), clock, 0, "no self-signed root"},
		"no key":          {&pki.Authority{Cert: root.Cert}, clock, 0, "not at hand"},
		"another's key":   {&pki.Authority{Cert: root.Cert, Key: newRoot(t, "other").Key}, clock, 0, "key is not that"},
		"no CA":           {&pki.Authority{Cert: m.Make(plain), Key: plain.Key}, clock, 0, "is no CA"},
		"no time":         {root, time.Time{}, 0, "not said when"},
		"a negative life": {root, clock, -time.Hour, "negative"},
		"unparsable":      {&pki.Authority{Cert: pki.NewCertificate([]byte("x")), Key: root.Key}, clock, 0, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := test.of.RenewRoot(test.at, test.life); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}
