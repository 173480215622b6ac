package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
	"pgregory.net/rapid"
)

func named(name string) pkix.Name { return pkix.Name{CommonName: name} }

func newRoot(t testing.TB, name string) *pki.Authority {
	t.Helper()
	root, err := pki.NewRoot(pki.Request{Subject: named(name), Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func below(t testing.TB, parent *pki.Authority, name string, pathLen int) *pki.Authority {
	t.Helper()
	a, err := parent.NewIntermediate(pki.Request{Subject: named(name), Now: clock, PathLen: pathLen})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func leafOf(t testing.TB, a *pki.Authority) *pki.Certificate {
	t.Helper()
	key, err := pki.ECDSAP256.Generate()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.IssueLeaf(pki.LeafRequest{SPIFFE: "spiffe://cluster.local/ns/a/sa/b", DNSNames: []string{"a.b.svc"}, Public: key.Public(), Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// chainOf is what a proxy would present: a leaf, the certificate that signed it and
// the chain behind it.
func chainOf(t testing.TB, a *pki.Authority, behind ...*pki.Certificate) []*pki.Certificate {
	t.Helper()
	chain := append([]*pki.Certificate{leafOf(t, a), a.Cert}, a.Chain...)
	return append(chain, behind...)
}

func judges() []pki.Judge { return []pki.Judge{pki.Envoy, pki.Go, pki.Webpki} }

// Whatever is made here, every judge accepts, as a client and as a server.
func TestWhatIsMadeIsAccepted(t *testing.T) {
	for _, spec := range pki.KeySpecs() {
		t.Run(string(spec), func(t *testing.T) {
			t.Parallel()
			root, err := pki.NewRoot(pki.Request{Subject: named("root"), Key: spec, Now: clock})
			if err != nil {
				t.Fatal(err)
			}
			signer, err := root.NewIntermediate(pki.Request{Subject: named("intermediate"), Key: spec, Now: clock, DNSNames: []string{"istiod.istio-system.svc"}})
			if err != nil {
				t.Fatal(err)
			}
			if got := pki.KeyAlgorithm(signer.Key.Public()); got != string(spec) {
				t.Errorf("asked for %s, got %s", spec, got)
			}
			for _, judge := range judges() {
				for _, usage := range []pki.Usage{pki.ClientAuth, pki.ServerAuth, pki.AnyUsage} {
					answer := pki.Verify(pki.Question{Judge: judge, Roots: signer.Roots.Certs, Chain: chainOf(t, signer), At: clock, Usage: usage, SPIFFE: "spiffe://cluster.local/ns/a/sa/b", DNS: "a.b.svc"})
					if answer.Result != pki.Accepted {
						t.Errorf("%s as %s: %s (%s)", judge, usage, answer.Result, answer.Reason)
					}
				}
			}
			for _, a := range []*pki.Authority{root, signer} {
				for _, f := range pki.LintAuthority(a, clock) {
					if f.ID != "root-signs" {
						t.Errorf("%s: %s: %s", f.ID, f.Subject, f.Message)
					}
				}
			}
		})
	}
}

func TestLifetimes(t *testing.T) {
	root := newRoot(t, "root")
	x := root.Cert.X509
	if !x.NotBefore.Equal(clock.Add(-time.Hour)) || !x.NotAfter.Equal(clock.Add(87600*time.Hour)) || x.MaxPathLen != -1 {
		t.Errorf("the root is valid from %s to %s, path length %d", x.NotBefore, x.NotAfter, x.MaxPathLen)
	}
	y := below(t, root, "intermediate", 0).Cert.X509
	if !y.NotAfter.Equal(clock.Add(43800*time.Hour)) || !y.MaxPathLenZero || !bytes.Equal(y.AuthorityKeyId, x.SubjectKeyId) {
		t.Errorf("the intermediate ends %s, path length %d", y.NotAfter, y.MaxPathLen)
	}
	long, err := root.NewIntermediate(pki.Request{Subject: named("long"), Now: clock, Lifetime: 2 * 87600 * time.Hour})
	if err != nil || !long.Cert.X509.NotAfter.Equal(x.NotAfter) {
		t.Errorf("an intermediate outlives its root: %v", err)
	}
	leaf := leafOf(t, long).X509
	if !leaf.NotBefore.Equal(clock.Add(-2*time.Minute)) || !leaf.NotAfter.Equal(clock.Add(24*time.Hour)) {
		t.Errorf("the leaf is valid from %s to %s", leaf.NotBefore, leaf.NotAfter)
	}
	for _, e := range leaf.Extensions {
		if e.Id.String() == "2.5.29.17" && !e.Critical {
			t.Error("the leaf has no subject, and its names are not critical")
		}
	}
	short, err := pki.NewRoot(pki.Request{Subject: named("short"), Now: clock, Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if leaf := leafOf(t, short); !leaf.X509.NotAfter.Equal(short.Cert.X509.NotAfter) {
		t.Error("a leaf outlives its issuer")
	}
}

func TestChainsGrow(t *testing.T) {
	root := newRoot(t, "root")
	one := below(t, root, "one", 1)
	two := below(t, one, "two", 0)
	if len(one.Chain) != 0 || len(two.Chain) != 1 || !two.Chain[0].Equal(one.Cert) || !two.Roots.SameBytes(root.Roots) {
		t.Fatalf("chains of %d and %d", len(one.Chain), len(two.Chain))
	}
	for _, judge := range judges() {
		if a := pki.Verify(pki.Question{Judge: judge, Roots: root.Roots.Certs, Chain: chainOf(t, two), At: clock, Usage: pki.ServerAuth}); a.Result != pki.Accepted {
			t.Errorf("%s: %s", judge, a.Reason)
		}
	}
	if _, err := two.NewIntermediate(pki.Request{Subject: named("three"), Now: clock}); err == nil || !strings.Contains(err.Error(), "path length 0") {
		t.Errorf("a CA below path length 0: %v", err)
	}
}

func TestWhatIsNotMade(t *testing.T) {
	root, other := newRoot(t, "root"), newRoot(t, "other")
	key := root.Key.Public()
	leaf := func(a *pki.Authority, r pki.LeafRequest) func() error {
		return func() error { _, err := a.IssueLeaf(r); return err }
	}
	ca := func(a *pki.Authority, r pki.Request) func() error {
		return func() error { _, err := a.NewIntermediate(r); return err }
	}
	fresh := func(r pki.Request) func() error { return func() error { _, err := pki.NewRoot(r); return err } }
	notCA := leafOf(t, root)
	for name, test := range map[string]struct {
		do   func() error
		want string
	}{
		"root without a name":      {fresh(pki.Request{Now: clock}), "needs a subject"},
		"root without a time":      {fresh(pki.Request{Subject: named("a")}), "not said when"},
		"root of negative life":    {fresh(pki.Request{Subject: named("a"), Now: clock, Lifetime: -1}), "negative"},
		"root of an odd length":    {fresh(pki.Request{Subject: named("a"), Now: clock, PathLen: -2}), "below -1"},
		"root of an unknown key":   {fresh(pki.Request{Subject: named("a"), Now: clock, Key: "dsa"}), `unknown kind of key "dsa"`},
		"without a key":            {ca(&pki.Authority{Cert: root.Cert}, pki.Request{Subject: named("a"), Now: clock}), "key of CN=root is not at hand"},
		"with another's key":       {ca(&pki.Authority{Cert: root.Cert, Key: other.Key}, pki.Request{Subject: named("a"), Now: clock}), "key is not that"},
		"without a certificate":    {ca(&pki.Authority{Key: other.Key}, pki.Request{Subject: named("a"), Now: clock}), "certificate of the issuer"},
		"unparsable certificate":   {ca(&pki.Authority{Cert: pki.NewCertificate([]byte("x")), Key: other.Key}, pki.Request{Subject: named("a"), Now: clock}), "malformed"},
		"the issuer's own name":    {ca(root, pki.Request{Subject: named("ROOT "), Now: clock}), "name of its issuer"},
		"below an expired issuer":  {ca(root, pki.Request{Subject: named("a"), Now: clock.Add(2 * pki.RootLifetime)}), "expired"},
		"leaf without a name":      {leaf(root, pki.LeafRequest{Public: key, Now: clock}), "neither a SPIFFE ID nor"},
		"leaf without a key":       {leaf(root, pki.LeafRequest{SPIFFE: "spiffe://a", Now: clock}), "no public key"},
		"leaf without a time":      {leaf(root, pki.LeafRequest{SPIFFE: "spiffe://a", Public: key}), "not said when"},
		"leaf of negative life":    {leaf(root, pki.LeafRequest{SPIFFE: "spiffe://a", Public: key, Now: clock, Lifetime: -1}), "negative"},
		"leaf of no SPIFFE ID":     {leaf(root, pki.LeafRequest{SPIFFE: "https://a", Public: key, Now: clock}), "no SPIFFE ID"},
		"leaf by an expired CA":    {leaf(root, pki.LeafRequest{SPIFFE: "spiffe://a", Public: key, Now: clock.Add(2 * pki.RootLifetime)}), "expired"},
		"leaf by what is not a CA": {leaf(&pki.Authority{Cert: notCA, Key: root.Key}, pki.LeafRequest{SPIFFE: "spiffe://a", Public: key, Now: clock}), "key is not that"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.do(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// The cross certificate joins both worlds for every judge: who trusts only the old
// root, only the new one, or both in any order accepts the new chain.
func TestCrossSign(t *testing.T) {
	older, newer := newRoot(t, "old root"), newRoot(t, "new root")
	signer := below(t, newer, "new intermediate", 0)
	cross, err := older.CrossSign(newer.Cert, clock)
	if err != nil {
		t.Fatal(err)
	}
	x, y := cross.X509, newer.Cert.X509
	if !bytes.Equal(x.RawSubject, y.RawSubject) || !bytes.Equal(x.SubjectKeyId, y.SubjectKeyId) || !bytes.Equal(x.RawSubjectPublicKeyInfo, y.RawSubjectPublicKeyInfo) ||
		!bytes.Equal(x.AuthorityKeyId, older.Cert.X509.SubjectKeyId) || !x.IsCA || x.KeyUsage != y.KeyUsage || x.MaxPathLen != y.MaxPathLen {
		t.Errorf("the cross certificate is not the new root's: %+v", x.Subject)
	}
	for name, roots := range map[string][]*pki.Certificate{
		"old": {older.Cert}, "new": {newer.Cert}, "old, new": {older.Cert, newer.Cert}, "new, old": {newer.Cert, older.Cert},
	} {
		for _, judge := range judges() {
			if a := pki.Verify(pki.Question{Judge: judge, Roots: roots, Chain: chainOf(t, signer, cross), At: clock, Usage: pki.ClientAuth}); a.Result != pki.Accepted {
				t.Errorf("%s trusts %s: %s (%s)", judge, name, a.Result, a.Reason)
			}
		}
	}
	if a := pki.Verify(pki.Question{Judge: pki.Envoy, Roots: []*pki.Certificate{older.Cert}, Chain: chainOf(t, signer), At: clock, Usage: pki.ClientAuth}); a.Result != pki.Refused {
		t.Error("without the cross certificate the old world accepts the new chain: this test proves nothing")
	}
}

// Key identifiers are copied as they are, odd ones and missing ones too.
func TestCrossSignCopiesKeyIdentifiers(t *testing.T) {
	older := newRoot(t, "old root")
	for name, c := range map[string]*pairs.Cert{
		"none": {DN: "r", NoSKI: true, NoAKI: true}, "one byte": {DN: "r", SKI: []byte{7}, AKI: []byte{7}}, "SHA-256": {DN: "r", SKI: make([]byte, 32), AKI: make([]byte, 32)},
		"issuer and serial in the AKI": {DN: "r", Serial: 9, AKISerial: 9}, "path length": {DN: "r", PathLen: 2}, "no key usage": {DN: "r", NoKU: true},
		"name constraints": {DN: "r", Extra: []pkix.Extension{pairs.URIConstraint(6, true, "cluster.local")}},
	} {
		root := maker(1).Make(c)
		cross, err := older.CrossSign(root, clock)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var want, got []string
		for _, e := range root.X509.Extensions {
			if e.Id.String() != "2.5.29.35" {
				want = append(want, fmt.Sprint(e.Id, e.Critical, e.Value))
			}
		}
		for _, e := range cross.X509.Extensions {
			if e.Id.String() != "2.5.29.35" {
				got = append(got, fmt.Sprint(e.Id, e.Critical, e.Value))
			}
		}
		if strings.Join(want, "\n") != strings.Join(got, "\n") {
			t.Errorf("%s: extensions\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestWhatIsNotCrossSigned(t *testing.T) {
	older, newer := newRoot(t, "old"), newRoot(t, "new")
	intermediate := below(t, older, "intermediate", 0)
	plain, err := older.NewIntermediate(pki.Request{Subject: named("any"), Now: clock, PathLen: -1})
	if err != nil {
		t.Fatal(err)
	}
	m := maker(1)
	for name, test := range map[string]struct {
		by   *pki.Authority
		root *pki.Certificate
		at   time.Time
		want string
	}{
		"path length 0":         {intermediate, newer.Cert, clock, "path length 0"},
		"no key":                {&pki.Authority{Cert: older.Cert}, newer.Cert, clock, "not at hand"},
		"another's key":         {&pki.Authority{Cert: older.Cert, Key: newer.Key}, newer.Cert, clock, "key is not that"},
		"one name":              {older, newRoot(t, "old").Cert, clock, "could not tell them apart"},
		"one name but for case": {older, newRoot(t, "OLD ").Cert, clock, "could not tell them apart"},
		"an intermediate":       {older, plain.Cert, clock, "no self-signed root"},
		"no CA":                 {older, m.Make(&pairs.Cert{DN: "r", BC: pairs.BCFalse}), clock, "is no CA"},
		"self-signed by name":   {older, m.Make(&pairs.Cert{DN: "r", By: &pairs.Cert{DN: "r"}, NoSKI: true, NoAKI: true}), clock, "no self-signed root"},
		"unparsable":            {older, pki.NewCertificate([]byte("x")), clock, "malformed"},
		"no root":               {older, nil, clock, "no root"},
		"expired root":          {older, m.Make(&pairs.Cert{DN: "r", From: -2 * time.Hour, To: -time.Hour}), clock, "expired"},
		"expired issuer":        {older, newer.Cert, clock.Add(pki.RootLifetime), "expired"},
		"no time":               {older, newer.Cert, time.Time{}, "not said when"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := test.by.CrossSign(test.root, test.at); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// The earlier end of both, and never before either begins.
func TestCrossSignTimes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		life, age := rapid.Int64Range(1, 1000), rapid.Int64Range(-59, 100) // valid since before now, one perhaps for less than an hour
		one, err := pki.NewRoot(pki.Request{Subject: named("one"), Now: clock.Add(-time.Duration(age.Draw(rt, "age")) * time.Minute), Lifetime: 2000 * time.Hour})
		if err != nil {
			rt.Fatal(err)
		}
		two, err := pki.NewRoot(pki.Request{Subject: named("two"), Now: clock.Add(-time.Duration(age.Draw(rt, "age of two")) * time.Minute), Lifetime: time.Duration(life.Draw(rt, "life")) * 4 * time.Hour})
		if err != nil {
			rt.Fatal(err)
		}
		cross, err := one.CrossSign(two.Cert, clock)
		if err != nil {
			rt.Fatal(err)
		}
		x := cross.X509
		for _, c := range []*pki.Authority{one, two} {
			if x.NotAfter.After(c.Cert.X509.NotAfter) || x.NotBefore.Before(c.Cert.X509.NotBefore) {
				rt.Fatalf("%s to %s, and %s has %s to %s", x.NotBefore, x.NotAfter, c.Cert.Subject(), c.Cert.X509.NotBefore, c.Cert.X509.NotAfter)
			}
		}
		if !x.NotAfter.Equal(one.Cert.X509.NotAfter) && !x.NotAfter.Equal(two.Cert.X509.NotAfter) {
			rt.Fatal("it ends with neither")
		}
	})
}

// No way of printing a CA shows its key.
func TestKeysAreNotPrinted(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := pki.MarshalKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a := &pki.Authority{Cert: newRoot(t, "root").Cert, Key: key}
	file := pki.File{Name: "k", Data: pem}
	var shown []string
	for _, v := range []any{a, *a, file, &file, pki.Files{CAKey: file}, struct{ A *pki.Authority }{a}, []pki.Authority{*a}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			shown = append(shown, fmt.Sprintf(verb, v))
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, string(text))
	}
	if got := fmt.Sprintf("%+v", a); got != `authority("CN=root")` {
		t.Errorf("a CA is printed as %s", got)
	}
	secret := key.D
	for _, text := range shown {
		for _, form := range []string{secret.String(), secret.Text(16), fmt.Sprintf("%X", secret), "PRIVATE", fmt.Sprint([]byte(pem))[1:40], fmt.Sprintf("%x", pem)[:40]} {
			if strings.Contains(text, form) {
				t.Errorf("a key is printed: %.80s", text)
			}
		}
	}
}

func TestFilesRoundTrip(t *testing.T) {
	root := newRoot(t, "root")
	signer := below(t, below(t, root, "one", 1), "two", 0)
	files, err := signer.Files()
	if err != nil {
		t.Fatal(err)
	}
	if chain, err := pki.ParseBundle(files.Chain.Data); err != nil || !chain.Certs[0].Equal(signer.Cert) {
		t.Errorf("the chain does not begin with the signer: %v", err)
	}
	got, err := pki.ParseFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Cert.Equal(signer.Cert) || !got.KeyMatches() || !pki.NewSet(got.Chain...).Equal(pki.NewSet(signer.Chain...)) || !got.Roots.SameBytes(signer.Roots) {
		t.Error("what was written is not what was read")
	}
	if _, err := (&pki.Authority{Cert: root.Cert}).Files(); !errors.Is(err, pki.ErrNoKey) {
		t.Errorf("a CA without a key: %v", err)
	}
	if _, err := (&pki.Authority{}).Files(); err == nil {
		t.Error("a CA without anything has files")
	}
}

func TestParseFiles(t *testing.T) {
	root, other := newRoot(t, "root"), newRoot(t, "other")
	one := below(t, root, "one", 1)
	two := below(t, one, "two", 0)
	files, err := two.Files()
	if err != nil {
		t.Fatal(err)
	}
	of := func(certs ...*pki.Certificate) []byte { return pki.NewBundle(certs...).Raw }
	for name, test := range map[string]struct {
		change func(*pki.Files)
		chain  []*pki.Certificate
		first  *pki.Certificate
		err    string
	}{
		"as it was made":           {change: func(*pki.Files) {}, chain: two.Chain},
		"roots in the chain":       {change: func(f *pki.Files) { f.Chain.Data = of(two.Cert, one.Cert, root.Cert, other.Cert) }, chain: two.Chain},
		"duplicates in the chain":  {change: func(f *pki.Files) { f.Chain.Data = of(one.Cert, one.Cert) }, chain: two.Chain},
		"empty chain":              {change: func(f *pki.Files) { f.Chain.Data = nil }},
		"chain in the certificate": {change: func(f *pki.Files) { f.CACert.Data, f.Chain.Data = of(two.Cert, one.Cert, root.Cert), nil }, chain: two.Chain},
		"right root last":          {change: func(f *pki.Files) { f.Root.Data = of(other.Cert, root.Cert) }, chain: two.Chain, first: root.Cert},
		"right root last, chain muddled": {change: func(f *pki.Files) {
			f.Root.Data, f.Chain.Data = of(other.Cert, root.Cert), of(other.Cert, one.Cert, two.Cert)
		}, chain: two.Chain, first: root.Cert},
		"empty root":          {change: func(f *pki.Files) { f.Root.Data = nil }, err: "root-cert.pem: no certificate in it"},
		"unparsable root":     {change: func(f *pki.Files) { f.Root.Data = of(root.Cert, pki.NewCertificate([]byte("x"))) }, err: "root-cert.pem: x509: malformed"},
		"cut certificate":     {change: func(f *pki.Files) { f.CACert.Data = f.CACert.Data[:100] }, err: "ca-cert.pem: 1 PEM blocks begin, 0 are whole"},
		"chain of spaces":     {change: func(f *pki.Files) { f.Chain.Data = []byte("\n") }, err: "cert-chain.pem: no certificate in it"},
		"key for certificate": {change: func(f *pki.Files) { f.CACert.Data = f.CAKey.Data }, err: `ca-cert.pem: block 1 is a "EC PRIVATE KEY"`},
		"certificate for key": {change: func(f *pki.Files) { f.CAKey.Data = f.CACert.Data }, err: `ca-key.pem: a "CERTIFICATE" where a private key should be`},
		"wrong key":           {change: func(f *pki.Files) { f.CAKey.Data, _ = other.KeyPEM() }, err: "ca-key.pem: the key is not that of the certificate"},
		"no key":              {change: func(f *pki.Files) { f.CAKey.Data = nil }, err: "ca-key.pem: no private key in it"},
	} {
		t.Run(name, func(t *testing.T) {
			f := files
			test.change(&f)
			got, err := pki.ParseFiles(f)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Chain) != len(test.chain) || !pki.NewSet(got.Chain...).Equal(pki.NewSet(test.chain...)) {
				t.Errorf("a chain of %d, want %d", len(got.Chain), len(test.chain))
			}
			if test.first != nil && !got.Roots.Certs[0].Equal(test.first) {
				t.Errorf("the first root is %s", got.Roots.Certs[0].Subject())
			}
			if !bytes.Equal(got.Roots.Raw, f.Root.Data) {
				t.Error("the bytes of the bundle have changed")
			}
		})
	}
}

func FuzzParseFiles(f *testing.F) {
	signer := below(f, newRoot(f, "root"), "signer", 0)
	files, err := signer.Files()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(files.Root.Data, files.CACert.Data, files.CAKey.Data, files.Chain.Data)
	f.Add([]byte("x"), []byte(nil), []byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"), []byte("\n"))
	f.Fuzz(func(t *testing.T, root, cert, key, chain []byte) {
		files := pki.Files{Root: pki.File{Name: "r", Data: root}, CACert: pki.File{Name: "c", Data: cert}, CAKey: pki.File{Name: "k", Data: key}, Chain: pki.File{Name: "h", Data: chain}}
		findings := pki.LintFiles(files)
		a, err := pki.ParseFiles(files)
		if err != nil {
			return
		}
		if !a.KeyMatches() || len(a.Roots.Certs) == 0 {
			t.Fatal("half a CA was taken for a whole one")
		}
		for _, finding := range append(findings, pki.LintAuthority(a, clock)...) {
			if finding.ID == "" || finding.Message == "" {
				t.Fatalf("an empty finding: %+v", finding)
			}
		}
	})
}
