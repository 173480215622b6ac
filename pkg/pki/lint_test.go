package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
	"pgregory.net/rapid"
)

// ids are the findings' IDs, each with its severity's first letter, in order.
func ids(findings []pki.Finding) []string {
	var all []string
	for _, f := range findings {
		all = append(all, string(f.Severity[0])+":"+f.ID)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func want(text string) []string {
	all := strings.Fields(text)
	slices.Sort(all)
	return all
}

// TestEveryRule holds every rule against material that has the fault and nothing
// else: a rule that no row finds, or a finding of no rule, fails.
func TestEveryRule(t *testing.T) {
	rules := map[string]pki.LintRule{}
	for _, r := range pki.LintRules() {
		if rules[r.ID].ID != "" || r.ID == "" || r.About == "" || r.Hint == "" {
			t.Errorf("rule %q: twice, or without a text", r.ID)
		}
		rules[r.ID] = r
	}
	seen := map[string]pki.Severity{}
	check := func(t *testing.T, name, expected string, got []pki.Finding) {
		t.Helper()
		for _, f := range got {
			rule, ok := rules[f.ID]
			if !ok || f.Hint != rule.Hint || f.Subject == "" || f.Message == "" {
				t.Errorf("%s: not of any rule, or empty: %+v", name, f)
			}
			if f.Severity == rule.Severity {
				seen[f.ID] = f.Severity
			}
		}
		if !slices.Equal(ids(got), want(expected)) {
			t.Errorf("%s:\n got %v\nwant %v\n%+v", name, ids(got), want(expected), got)
		}
	}
	for name, row := range fileRows(t) {
		check(t, "files, "+name, row.want, pki.LintFiles(row.files))
	}
	for name, row := range authorityRows(t) {
		check(t, "CA, "+name, row.want, pki.LintAuthority(row.ca, clock))
	}
	for name, row := range pairRows(t) {
		check(t, "pair, "+name, row.want, pki.LintPair(row.old, row.new, clock))
	}
	for id := range rules {
		if seen[id] == "" {
			t.Errorf("no row finds %q at its own severity", id)
		}
	}
}

type fileRow struct {
	files pki.Files
	want  string
}

func fileRows(t *testing.T) map[string]fileRow {
	root, other := newRoot(t, "root"), newRoot(t, "other")
	one := below(t, root, "one", 1)
	two := below(t, one, "two", 0)
	good, err := two.Files()
	if err != nil {
		t.Fatal(err)
	}
	of := func(certs ...*pki.Certificate) []byte { return pki.NewBundle(certs...).Raw }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	dos := func(raw []byte) []byte { return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n")) }
	odd := func(kind string) []byte { return pemBlock(kind, []byte("x"), nil) }
	rows := map[string]fileRow{"as it is made": {good, ""}}
	add := func(name, want string, change func(*pki.Files)) {
		f := good
		change(&f)
		rows[name] = fileRow{f, want}
	}
	add("CRLF root", "e:crlf", func(f *pki.Files) { f.Root.Data = dos(f.Root.Data) })
	add("CRLF key", "e:crlf", func(f *pki.Files) { f.CAKey.Data = dos(f.CAKey.Data) })
	add("BOM", "e:byte-order-mark e:cut-block", func(f *pki.Files) { f.Root.Data = join([]byte("\xef\xbb\xbf"), f.Root.Data) })
	add("BOM and comment", "e:byte-order-mark w:text-outside", func(f *pki.Files) { f.Root.Data = join([]byte("\xef\xbb\xbf# root\n"), f.Root.Data) })
	add("no newline", "w:no-newline", func(f *pki.Files) { f.Root.Data = bytes.TrimSpace(f.Root.Data) })
	add("no newline in the chain", "w:no-newline", func(f *pki.Files) { f.Chain.Data = bytes.TrimSpace(f.Chain.Data) })
	add("glued", "e:cut-block", func(f *pki.Files) { f.Root.Data = join(bytes.TrimSpace(of(other.Cert)), of(root.Cert)) })
	add("cut", "e:cut-block w:no-newline", func(f *pki.Files) { f.CACert.Data = f.CACert.Data[:100] })
	add("cut key", "e:cut-block w:no-newline", func(f *pki.Files) { f.CAKey.Data = f.CAKey.Data[:100] })
	add("garbage at the end", "w:text-outside", func(f *pki.Files) { f.Root.Data = join(f.Root.Data, []byte("%\n")) })
	add("comment between", "w:text-outside", func(f *pki.Files) { f.Chain.Data = join(of(two.Cert), []byte("subject=one\n"), of(one.Cert)) })
	add("a friendly name in Latin-1", "e:not-text w:text-outside", func(f *pki.Files) {
		f.Root.Data = join([]byte("Bag Attributes\n    friendlyName: Z\xfcrich\n"), f.Root.Data)
	})
	add("a friendly name in UTF-8", "w:text-outside", func(f *pki.Files) {
		f.Root.Data = join([]byte("Bag Attributes\n    friendlyName: Z\u00fcrich\n"), f.Root.Data)
	})
	add("all empty", "e:empty-file", func(f *pki.Files) {
		*f = pki.Files{Root: pki.File{Name: "r"}, CACert: pki.File{Name: "c"}, CAKey: pki.File{Name: "k"}}
	})
	add("chain of a newline", "e:empty-file", func(f *pki.Files) { f.Chain.Data = []byte("\n") })
	add("DER", "e:not-pem", func(f *pki.Files) { f.Root.Data = root.Cert.DER })
	add("key among roots", "e:key-in-certificates", func(f *pki.Files) { f.Root.Data = join(f.Root.Data, f.CAKey.Data) })
	add("key among the chain", "e:key-in-certificates", func(f *pki.Files) { f.Chain.Data = join(f.Chain.Data, f.CAKey.Data) })
	add("encrypted key among roots", "e:key-in-certificates", func(f *pki.Files) { f.Root.Data = join(f.Root.Data, odd("ENCRYPTED PRIVATE KEY")) })
	add("trusted certificate", "e:foreign-block", func(f *pki.Files) { f.Root.Data = odd("TRUSTED CERTIFICATE") })
	// What openssl, step, Vault, cfssl, keytool, shells and kubectl leave.
	add("request for a certificate", "e:request", func(f *pki.Files) { f.CACert.Data = odd("CERTIFICATE REQUEST") })
	add("unparsable", "e:unparsable", func(f *pki.Files) { f.Root.Data = join(f.Root.Data, odd("CERTIFICATE")) })
	add("negative serial", "e:negative-serial", func(f *pki.Files) { f.Root.Data = of(root.Cert, maker(1).Make(&pairs.Cert{DN: "r", Serial: -5})) })
	add("twice in the chain", "w:duplicate", func(f *pki.Files) { f.Chain.Data = of(two.Cert, one.Cert, one.Cert) })
	add("encrypted key", "e:encrypted-key", func(f *pki.Files) { f.CAKey.Data = odd("ENCRYPTED PRIVATE KEY") })
	add("certificate as a key", "e:bad-key", func(f *pki.Files) { f.CAKey.Data = f.CACert.Data })
	add("two keys", "e:bad-key", func(f *pki.Files) { f.CAKey.Data = join(f.CAKey.Data, f.CAKey.Data) })
	add("a key that others may read", "w:key-readable", func(f *pki.Files) { f.CAKey.Mode = 0o640 })
	add("a key for its owner alone", "", func(f *pki.Files) { f.CAKey.Mode, f.Root.Mode = 0o600, 0o644 })
	add("curve before the key", "w:ec-parameters", func(f *pki.Files) { f.CAKey.Data = join(odd("EC PARAMETERS"), f.CAKey.Data) })
	add("chain in the certificate", "i:extra-certificates w:signer-not-in-chain", func(f *pki.Files) { f.CACert.Data, f.Chain.Data = of(two.Cert, one.Cert), nil })
	add("root in the chain", "i:root-in-chain", func(f *pki.Files) { f.Chain.Data = of(two.Cert, one.Cert, root.Cert) })
	add("no chain", "w:signer-not-in-chain", func(f *pki.Files) { f.Chain.Data = nil })
	add("chain without the signer", "w:signer-not-in-chain", func(f *pki.Files) { f.Chain.Data = of(one.Cert) })
	add("chain turned round", "w:chain-order", func(f *pki.Files) { f.Chain.Data = of(one.Cert, two.Cert) })
	add("chain with a stranger", "w:chain-order", func(f *pki.Files) { f.Chain.Data = of(two.Cert, below(t, other, "stranger", 0).Cert, one.Cert) })
	lines := func(raw []byte, change func(lines []string) []string) []byte {
		return []byte(strings.Join(change(strings.Split(string(raw), "\n")), "\n"))
	}
	between := func(at int, more ...string) func([]string) []string {
		return func(lines []string) []string { return slices.Insert(lines, (at+len(lines))%len(lines), more...) }
	}
	add("blank line in a block", "e:blank-line", func(f *pki.Files) { f.Root.Data = lines(f.Root.Data, between(3, "")) })
	add("blanks alone in a line of a block", "e:blank-line", func(f *pki.Files) { f.Root.Data = lines(f.Root.Data, between(3, " \t")) })
	add("blank line before the end", "e:blank-line", func(f *pki.Files) { f.CACert.Data = lines(f.CACert.Data, between(-2, "")) })
	add("blank line in the last block of the chain", "e:blank-line", func(f *pki.Files) { f.Chain.Data = lines(f.Chain.Data, between(-3, "")) })
	add("blank line at the beginning", "", func(f *pki.Files) { f.Root.Data = lines(f.Root.Data, between(1, "")) })
	add("blank line at the beginning and in the block", "e:blank-line", func(f *pki.Files) { f.Root.Data = lines(f.Root.Data, between(1, "", "", "")) })
	add("blank line at the beginning, lines of 32", "e:blank-line", func(f *pki.Files) {
		f.Root.Data = lines(f.Root.Data, func(l []string) []string { return slices.Concat(l[:1], []string{"", l[1][:32], l[1][32:]}, l[2:]) })
	})
	add("blank line at the beginning, longer lines", "e:blank-line", func(f *pki.Files) {
		f.Root.Data = lines(f.Root.Data, func(l []string) []string { return slices.Concat(l[:1], []string{"", l[1] + l[2]}, l[3:]) })
	})
	add("one long line", "", func(f *pki.Files) {
		f.Root.Data = lines(f.Root.Data, func(l []string) []string {
			return []string{l[0], strings.Join(l[1:len(l)-2], ""), l[len(l)-2], ""}
		})
	})
	add("a line of 253, which is blank from there", "e:blank-line", func(f *pki.Files) {
		f.Root.Data = lines(f.Root.Data, func(l []string) []string {
			all := strings.Join(l[1:len(l)-2], "")
			return []string{l[0], all[:253], all[253:], l[len(l)-2], ""}
		})
	})
	add("blank lines between blocks", "", func(f *pki.Files) {
		f.Root.Data = join([]byte("\n\n"), of(root.Cert), []byte("\n \n"), of(other.Cert), []byte("\n"))
	})
	add("headers", "e:pem-headers", func(f *pki.Files) {
		f.Root.Data = pemBlock("CERTIFICATE", root.Cert.DER, map[string]string{"Comment": "x"})
	})
	add("headers of the second", "e:pem-headers", func(f *pki.Files) {
		f.Root.Data = join(of(root.Cert), pemBlock("CERTIFICATE", other.Cert.DER, map[string]string{"Comment": "x"}))
	})
	forms(t, add, root, one, two)
	add("the root signs, no chain", "", func(f *pki.Files) { f.CACert.Data, f.Chain.Data = f.Root.Data, nil })
	add("the root signs, and is the chain", "", func(f *pki.Files) { f.CACert.Data, f.Chain.Data = f.Root.Data, f.Root.Data })
	return rows
}

// oid of an extended key usage: 1 server, 2 client.
func usage(last int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, last}
}

type authorityRow struct {
	ca   *pki.Authority
	want string
}

// long is a life that gives no finding of its own.
const long = 10000 * time.Hour

func authorityRows(t *testing.T) map[string]authorityRow {
	m := maker(1)
	rows := map[string]authorityRow{}
	rootCert := func(change ...func(*pairs.Cert)) *pairs.Cert {
		c := &pairs.Cert{DN: "root", To: 2 * long}
		for _, f := range change {
			f(c)
		}
		return c
	}
	ca := func(root, signer *pairs.Cert, more ...*pki.Certificate) *pki.Authority {
		r, c := m.Make(root), m.Make(signer)
		return &pki.Authority{Cert: c, Key: signer.Key, Roots: pki.NewBundle(append([]*pki.Certificate{r}, more...)...)}
	}
	// signer adds a row in which the intermediate has a fault, root one in which its
	// root has.
	signer := func(name, want string, change func(*pairs.Cert)) {
		root := rootCert()
		c := &pairs.Cert{DN: "signer", By: root, PathLen: 1, To: long}
		change(c)
		rows[name] = authorityRow{ca(root, c), want}
	}
	root := func(name, want string, change func(*pairs.Cert)) {
		r := rootCert(change)
		rows[name] = authorityRow{ca(r, &pairs.Cert{DN: "signer", By: r, PathLen: 1, To: long}), want}
	}
	beside := func(name, want string, extra *pki.Certificate) {
		r := rootCert()
		rows[name] = authorityRow{ca(r, &pairs.Cert{DN: "signer", By: r, PathLen: 1, To: long}, extra), want}
	}
	serverOnly := []asn1.ObjectIdentifier{usage(1)}
	critical := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}

	signer("sound", "", func(*pairs.Cert) {})
	signer("with both usages", "", func(c *pairs.Cert) { c.EKU = []asn1.ObjectIdentifier{usage(1), usage(2)} })
	signer("signer expired", "e:expired e:no-path", func(c *pairs.Cert) { c.From, c.To = -2*time.Hour, -time.Hour })
	signer("signer not yet valid", "e:not-yet-valid e:no-path", func(c *pairs.Cert) { c.From = time.Hour })
	signer("signer ends in 59 days", "w:expires-soon", func(c *pairs.Cert) { c.To = 59 * 24 * time.Hour })
	signer("signer ends in 61 days", "", func(c *pairs.Cert) { c.To = 61 * 24 * time.Hour })
	signer("signer outlives its root", "w:outlives-root", func(c *pairs.Cert) { c.To = 3 * long })
	signer("signer is no CA", "e:not-a-ca", func(c *pairs.Cert) { c.BC, c.PathLen = pairs.BCFalse, 0 })
	signer("signer without constraints", "e:not-a-ca", func(c *pairs.Cert) { c.BC = pairs.BCNone })
	signer("signer of version 1, as openssl x509 -req without extensions", "e:not-a-ca w:no-ski w:no-aki", func(c *pairs.Cert) { c.V1 = true })
	signer("signer may not sign", "e:no-cert-sign", func(c *pairs.Cert) { c.KU = x509.KeyUsageDigitalSignature })
	signer("signer without key usage", "", func(c *pairs.Cert) { c.NoKU = true })
	signer("signer without a name", "e:no-subject", func(c *pairs.Cert) { c.DN = "" })
	signer("SHA-1", "e:weak-signature e:no-path", func(c *pairs.Cert) { c.SHA1 = true })
	signer("for servers alone", "e:narrow-usage", func(c *pairs.Cert) { c.EKU = serverOnly })
	signer("for anything", "e:narrow-usage", func(c *pairs.Cert) { c.EKU = []asn1.ObjectIdentifier{{2, 5, 29, 37, 0}} })
	signer("without SKI", "w:no-ski", func(c *pairs.Cert) { c.NoSKI = true })
	signer("without AKI", "w:no-aki", func(c *pairs.Cert) { c.NoAKI = true })
	signer("AKI with a serial number", "w:aki-serial", func(c *pairs.Cert) { c.By.Serial, c.AKISerial = 77, 77 })
	signer("AKI of another key", "e:envoy-refuses", func(c *pairs.Cert) { c.AKI = []byte{1} })
	signer("unknown critical extension", "e:no-path", func(c *pairs.Cert) { c.Extra = []pkix.Extension{critical} })
	signer("name constraints", "w:name-constraints", func(c *pairs.Cert) { c.Extra = []pkix.Extension{pairs.URIConstraint(6, true, "cluster.local")} })
	signer("name constraints, AKI of another key", "w:name-constraints e:envoy-refuses", func(c *pairs.Cert) {
		c.Extra, c.AKI = []pkix.Extension{pairs.URIConstraint(6, true, "cluster.local")}, []byte{1}
	})
	signer("negative serial", "e:negative-serial", func(c *pairs.Cert) { c.Serial = -1 })

	root("root has path length 0", "e:path-length", func(c *pairs.Cert) { c.PathLen = 1 })
	root("root for servers alone", "e:narrow-usage", func(c *pairs.Cert) { c.EKU = serverOnly })
	root("root has path length 1", "", func(c *pairs.Cert) { c.PathLen = 2 })
	root("root expired", "e:expired e:no-path", func(c *pairs.Cert) { c.From, c.To = -2*time.Hour, -time.Hour })
	root("root is no CA", "e:root-not-a-ca e:no-path", func(c *pairs.Cert) { c.BC = pairs.BCFalse })
	root("root may not sign", "e:no-cert-sign e:no-path w:root-not-self-signed", func(c *pairs.Cert) { c.KU = x509.KeyUsageDigitalSignature })
	root("root without key ids", "w:no-ski w:no-aki", func(c *pairs.Cert) { c.NoSKI, c.NoAKI = true, true })
	root("root with SHA-1", "", func(c *pairs.Cert) { c.SHA1 = true })
	root("root with name constraints", "w:name-constraints", func(c *pairs.Cert) { c.Extra = []pkix.Extension{pairs.URIConstraint(6, true, "cluster.local")} })
	root("root without a name", "e:no-subject", func(c *pairs.Cert) { c.DN = "" })
	root("root's serial is negative", "e:negative-serial e:no-path", func(c *pairs.Cert) { c.Serial = -1 })

	strange := func(c *pairs.Cert) *pki.Certificate {
		if c.To == 0 {
			c.To = long
		}
		return m.Make(c)
	}
	beside("another root", "", strange(&pairs.Cert{DN: "other"}))
	beside("another root, expired", "w:expired", strange(&pairs.Cert{DN: "other", From: -2 * time.Hour, To: -time.Hour}))
	beside("another root, soon", "w:not-yet-valid", strange(&pairs.Cert{DN: "other", From: time.Hour}))
	beside("another root, no CA", "w:root-not-a-ca", strange(&pairs.Cert{DN: "other", BC: pairs.BCFalse}))
	beside("another root, no name", "w:no-subject", strange(&pairs.Cert{}))
	beside("another root, unparsable", "e:unparsable", pki.NewCertificate([]byte("x")))
	beside("an intermediate as a root", "w:root-not-self-signed", strange(&pairs.Cert{DN: "other", By: &pairs.Cert{DN: "above"}}))
	limited := rootCert()
	rows["another root with name constraints, AKI of another key"] = authorityRow{
		ca(limited, &pairs.Cert{DN: "signer", By: limited, PathLen: 1, To: long, AKI: []byte{1}}, strange(&pairs.Cert{DN: "other", Extra: []pkix.Extension{pairs.URIConstraint(6, true, "else.where")}})),
		"e:envoy-refuses",
	}
	beside("another root of that name", "w:same-name", strange(&pairs.Cert{DN: "ROOT"}))
	beside("another root of that name without ids", "e:same-name-no-ids w:envoy-depends w:no-ski", strange(&pairs.Cert{DN: "root", NoSKI: true, NoAKI: true}))
	beside("another root of the signer's name", "w:same-name", strange(&pairs.Cert{DN: "signer"}))

	for name, key := range keys(t) {
		root, err := pki.NewRoot(pki.Request{Subject: named("root"), Now: clock})
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: named("signer"), NotBefore: clock.Add(-time.Hour), NotAfter: clock.Add(long), IsCA: true, BasicConstraintsValid: true, SubjectKeyId: []byte{1}, KeyUsage: x509.KeyUsageCertSign}
		der, err := x509.CreateCertificate(rand.Reader, template, root.Cert.X509, key.public, root.Key)
		if err != nil {
			t.Fatal(err)
		}
		rows[name] = authorityRow{&pki.Authority{Cert: pki.NewCertificate(der), Roots: root.Roots}, key.want}
	}

	r, other := newRoot(t, "root"), newRoot(t, "other")
	one := below(t, r, "one", 1)
	two := below(t, one, "two", 0)
	with := func(a *pki.Authority, change func(*pki.Authority)) *pki.Authority {
		b := *a
		change(&b)
		return &b
	}
	rows["nothing"] = authorityRow{&pki.Authority{}, "e:incomplete"}
	rows["no CA at all"] = authorityRow{nil, "e:incomplete"}
	rows["no root"] = authorityRow{&pki.Authority{Cert: r.Cert, Key: r.Key}, "e:incomplete"}
	rows["no key"] = authorityRow{&pki.Authority{Cert: one.Cert, Roots: one.Roots}, ""}
	rows["wrong key"] = authorityRow{with(two, func(a *pki.Authority) { a.Key = other.Key }), "e:wrong-key"}
	rows["two levels"] = authorityRow{two, ""}
	rows["two levels, one missing"] = authorityRow{with(two, func(a *pki.Authority) { a.Chain = nil }), "e:no-path"}
	rows["wrong root"] = authorityRow{with(two, func(a *pki.Authority) { a.Roots = other.Roots }), "e:no-path"}
	rows["the signer is trusted"] = authorityRow{with(two, func(a *pki.Authority) { a.Roots = pki.NewBundle(two.Cert) }), "w:root-not-self-signed"}
	rows["its issuer is trusted, and the root"] = authorityRow{with(two, func(a *pki.Authority) { a.Roots = pki.NewBundle(r.Cert, one.Cert) }), "w:root-not-self-signed"}
	rows["stranger in the chain"] = authorityRow{with(two, func(a *pki.Authority) { a.Chain = append(slices.Clone(a.Chain), below(t, other, "stranger", 0).Cert) }), "w:stray-certificate"}
	rows["twice in the chain"] = authorityRow{with(two, func(a *pki.Authority) { a.Chain = append(slices.Clone(a.Chain), a.Chain[0]) }), ""}
	rows["the signer and its root in the chain, as in a Secret"] = authorityRow{with(two, func(a *pki.Authority) { a.Chain = []*pki.Certificate{two.Cert, one.Cert, r.Cert} }), ""}
	rows["unparsable chain"] = authorityRow{with(two, func(a *pki.Authority) { a.Chain = []*pki.Certificate{pki.NewCertificate([]byte("x"))} }), "e:unparsable"}
	rows["root signs"] = authorityRow{r, "w:root-signs"}
	rows["bundle with duplicates"] = authorityRow{with(one, func(a *pki.Authority) { a.Roots = pki.NewBundle(r.Cert, other.Cert, other.Cert) }), "w:duplicate-root"}
	rows["bundle with headers"] = authorityRow{with(one, func(a *pki.Authority) {
		a.Roots.Raw = pemBlock("CERTIFICATE", r.Cert.DER, map[string]string{"Comment": "x"})
	}), "e:pem-headers"}
	cross, err := other.CrossSign(r.Cert, clock)
	if err != nil {
		t.Fatal(err)
	}
	rows["cross certificate, old root"] = authorityRow{with(one, func(a *pki.Authority) { a.Chain, a.Roots = []*pki.Certificate{cross}, other.Roots }), ""}
	rows["cross certificate, both roots"] = authorityRow{with(one, func(a *pki.Authority) {
		a.Chain, a.Roots = []*pki.Certificate{cross}, pki.NewBundle(other.Cert, r.Cert)
	}), ""}
	rows["cross certificate, new root"] = authorityRow{with(one, func(a *pki.Authority) { a.Chain = []*pki.Certificate{cross} }), ""}

	// Twins of a root of which one has expired: releases of Envoy pick differently.
	twin := rootCert(func(c *pairs.Cert) { c.To = long })
	under := &pairs.Cert{DN: "signer", By: twin, PathLen: 1, To: long}
	a := ca(twin, under)
	gone := *twin
	gone.From, gone.To, gone.Serial = -2*time.Hour, -time.Hour, 99
	rows["an expired twin"] = authorityRow{with(a, func(a *pki.Authority) { a.Roots = pki.NewBundle(a.Roots.Certs[0], remake(m, gone)) }), "w:expired i:same-key w:envoy-depends"}
	return rows
}

// remake makes a certificate again, with changed fields and the same key.
func remake(m *pairs.Maker, c pairs.Cert) *pki.Certificate {
	again := pairs.Cert{DN: c.DN, Raw: c.Raw, Key: c.Key, By: c.By, From: c.From, To: c.To, Serial: c.Serial, NoSKI: c.NoSKI, SKI: c.SKI, NoAKI: c.NoAKI, AKI: c.AKI, PathLen: c.PathLen}
	return m.Make(&again)
}

type keyRow struct {
	public any
	want   string
}

func keys(t *testing.T) map[string]keyRow {
	t.Setenv("GODEBUG", "rsa1024min=0")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	// Nobody has the key of this one; only its size counts.
	huge := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8200, 1), E: 65537}
	rows := map[string]keyRow{"RSA of 1024 bits": {&weak.PublicKey, "e:weak-key"}, "RSA of 8201 bits": {huge, "e:huge-key"}}
	for curve, want := range map[elliptic.Curve]string{elliptic.P224(): "e:odd-curve", elliptic.P521(): ""} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		rows[curve.Params().Name] = keyRow{&key.PublicKey, want}
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rows["Ed25519"] = keyRow{edwards, "e:odd-key"}
	return rows
}

type pairRow struct {
	old, new *pki.Authority
	want     string
}

func pairRows(t *testing.T) map[string]pairRow {
	m := maker(1)
	rows := map[string]pairRow{}
	// mk is a root and a signer below it; change gets both before they are made.
	mk := func(root, signer string, change func(r, s *pairs.Cert)) (*pki.Authority, *pairs.Cert, *pairs.Cert) {
		r := &pairs.Cert{DN: root, To: 2 * long}
		s := &pairs.Cert{DN: signer, By: r, PathLen: 1, To: long}
		if change != nil {
			change(r, s)
		}
		return &pki.Authority{Roots: pki.NewBundle(m.Make(r)), Cert: m.Make(s), Key: s.Key}, r, s
	}
	none := func(r, s *pairs.Cert) { r.NoSKI, r.NoAKI, s.NoSKI, s.NoAKI = true, true, true, true }
	old, oldRoot, oldSigner := mk("old root", "old signer", nil)
	bare, bareRoot, _ := mk("old root", "old signer", none)
	put := func(name, want string, old *pki.Authority, root, signer string, change func(r, s *pairs.Cert)) {
		a, _, _ := mk(root, signer, change)
		rows[name] = pairRow{old, a, want}
	}
	put("nothing alike", "", old, "new root", "new signer", nil)
	put("both of one name", "w:same-name", old, "old root", "old signer", nil)
	put("the root of one name but for its letters", "w:same-name", old, "OLD  Root", "new signer", nil)
	put("the signer of one name", "w:same-name", old, "new root", "old signer", nil)
	put("both of one name, no ids", "e:same-name-no-ids w:same-name-no-ids", bare, "old root", "old signer", none)
	put("the root of one name, the old without ids", "e:same-name-no-ids", bare, "old root", "new signer", nil)
	put("the signer of one name, no ids: nobody meets both", "w:same-name-no-ids", bare, "new root", "old signer", none)
	put("the root of one name and SKI", "e:same-name-no-ids", old, "old root", "new signer", func(r, _ *pairs.Cert) {
		r.SKI = old.Roots.Certs[0].X509.SubjectKeyId
		r.AKI = r.SKI
	})
	put("the new signer has the old root's name", "w:same-name", old, "new root", "old root", nil)
	put("the root of one name, the signer without AKI", "e:same-name-no-ids", old, "old root", "new signer", func(_, s *pairs.Cert) { s.NoAKI = true })
	put("shorter", "w:shorter-life", old, "new root", "new signer", func(r, _ *pairs.Cert) { r.To = long + time.Hour })
	put("constrained", "w:constraints-differ", old, "new root", "new signer", func(_, s *pairs.Cert) {
		s.Extra = []pkix.Extension{pairs.URIConstraint(6, true, "cluster.local")}
	})
	put("the old signer's key", "w:key-reused", old, "new root", "new signer", func(_, s *pairs.Cert) { s.Key = oldSigner.Key })
	put("the old root's key", "w:key-reused", old, "new root", "new signer", func(r, _ *pairs.Cert) { r.Key = oldRoot.Key })
	put("re-issued with the same SKI", "i:same-key", old, "old root", "new signer", func(r, _ *pairs.Cert) { r.Key = oldRoot.Key })
	put("re-issued with another SKI", "e:same-key-other-ski", old, "old root", "new signer", func(r, _ *pairs.Cert) { r.Key, r.SKI, r.AKI = oldRoot.Key, []byte{1}, []byte{1} })
	put("re-issued, none had a SKI", "i:same-key", bare, "old root", "new signer", func(r, s *pairs.Cert) { none(r, s); r.Key = bareRoot.Key })
	put("re-issued, only the new has a SKI", "e:same-key-other-ski", bare, "old root", "new signer", func(r, _ *pairs.Cert) { r.Key = bareRoot.Key })
	put("the signer re-issued with another SKI", "w:same-key-other-ski", old, "new root", "old signer", func(_, s *pairs.Cert) { s.Key, s.SKI = oldSigner.Key, []byte{1} })

	serial, serialRoot, _ := mk("old root", "old signer", func(r, s *pairs.Cert) { r.Serial, s.AKISerial = 5, 5 })
	put("re-issued under a signer that names the serial number", "i:same-key e:same-key-aki-serial", serial, "old root", "new signer", func(r, _ *pairs.Cert) { r.Key = serialRoot.Key })

	limited, _, _ := mk("old root", "old signer", func(r, _ *pairs.Cert) { r.PathLen = 2 })
	put("no room for a cross certificate", "i:no-cross-path", limited, "new root", "new signer", nil)
	roomy, _, _ := mk("old root", "old signer", func(r, _ *pairs.Cert) { r.PathLen = 3 })
	put("room for a cross certificate", "", roomy, "new root", "new signer", nil)

	under := &pairs.Cert{DN: "new signer", By: oldRoot, PathLen: 1, To: long}
	rows["another signer under the same root"] = pairRow{old, &pki.Authority{Cert: m.Make(under), Key: under.Key, Roots: old.Roots}, "i:root-known"}
	rows["the same CA"] = pairRow{old, old, "i:root-known i:same-signer"}
	rows["the same signer, another root"] = pairRow{old, &pki.Authority{Cert: old.Cert, Key: old.Key, Roots: pki.NewBundle(m.Make(&pairs.Cert{DN: "new root", To: 2 * long}))}, "i:same-signer"}
	fresh, _, _ := mk("new root", "new signer", nil)
	rows["the new root is trusted already"] = pairRow{&pki.Authority{Cert: old.Cert, Roots: pki.NewBundle(old.Roots.Certs[0], fresh.Roots.Certs[0])}, fresh, "i:root-known"}
	rows["the new signer is trusted already"] = pairRow{&pki.Authority{Cert: old.Cert, Roots: pki.NewBundle(old.Roots.Certs[0], fresh.Cert)}, fresh, "w:intermediate-trusted"}
	rows["half an old CA"] = pairRow{&pki.Authority{Cert: old.Cert}, fresh, "e:incomplete"}
	rows["no old CA"] = pairRow{nil, fresh, "e:incomplete"}
	return rows
}

// Where lint of a CA has no error, every leaf of it is accepted by Go, and by Envoy
// too where lint does not say that it depends.
func TestLintedCAsAreAccepted(t *testing.T) {
	clean := 0
	rapid.Check(t, func(t *rapid.T) {
		m := maker(rapid.Uint64().Draw(t, "seed"))
		// Few names and odd fields, so that certificates meet.
		draw := func(by *pairs.Cert, label string) *pairs.Cert {
			c := &pairs.Cert{
				DN: rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, label+" name"), By: by, To: long,
				PathLen: rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3}).Draw(t, label+" path length"),
				NoSKI:   rapid.IntRange(0, 5).Draw(t, label+" ski") == 0, NoAKI: rapid.IntRange(0, 5).Draw(t, label+" aki") == 0,
			}
			switch rapid.IntRange(0, 30).Draw(t, label+" fault") {
			case 0:
				c.From, c.To = -2*time.Hour, -time.Hour
			case 1:
				c.BC, c.PathLen = pairs.BCFalse, 0
			case 2:
				c.BC = pairs.BCNone
			case 3:
				c.KU = x509.KeyUsageDigitalSignature
			case 4:
				c.EKU = []asn1.ObjectIdentifier{usage(1)}
			case 5:
				c.AKI = []byte{1, 2}
			case 6:
				c.SHA1 = true
			}
			if rapid.IntRange(0, 4).Draw(t, label+" constraints") == 0 { // which the leaf is within
				c.Extra = []pkix.Extension{pairs.URIConstraint(6, true, "cluster.local")}
			}
			return c
		}
		top := draw(nil, "root")
		var chain []*pairs.Cert
		last := top
		for range rapid.IntRange(0, 2).Draw(t, "levels") {
			last = draw(last, "intermediate")
			chain = append([]*pairs.Cert{last}, chain...)
		}
		signer := last
		roots := []*pki.Certificate{m.Make(top)}
		for range rapid.IntRange(0, 2).Draw(t, "more") {
			extra := draw(nil, "extra")
			if rapid.IntRange(0, 3).Draw(t, "twin") == 0 {
				extra.Key, extra.DN = top.Key, top.DN
			}
			roots = append(roots, m.Make(extra))
		}
		a := &pki.Authority{Cert: m.Make(signer), Key: signer.Key, Roots: pki.NewBundle(roots...)}
		for _, c := range chain {
			if c != signer {
				a.Chain = append(a.Chain, m.Make(c))
			}
		}
		depends := false
		for _, f := range pki.LintAuthority(a, clock) {
			if f.Severity == pki.SeverityError {
				return
			}
			depends = depends || f.ID == "envoy-depends"
		}
		clean++
		key, err := pki.ECDSAP256.Generate()
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := a.IssueLeaf(pki.LeafRequest{SPIFFE: "spiffe://cluster.local/ns/a/sa/b", Public: key.Public(), Now: clock, Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		presented := append([]*pki.Certificate{leaf, a.Cert}, a.Chain...)
		for _, usage := range []pki.Usage{pki.ClientAuth, pki.ServerAuth} {
			if answer := pki.Verify(pki.Question{Judge: pki.Go, Roots: roots, Chain: presented, At: clock, Usage: usage}); answer.Result != pki.Accepted {
				t.Fatalf("no error, and Go says: %s (%v)", answer.Reason, ids(pki.LintAuthority(a, clock)))
			}
			if answer := pki.Verify(pki.Question{Judge: pki.Envoy, Roots: roots, Chain: presented, At: clock, Usage: usage}); answer.Result != pki.Accepted && !depends {
				t.Fatalf("no error, and Envoy: %s: %s (%v)", answer.Result, answer.Reason, ids(pki.LintAuthority(a, clock)))
			}
		}
	})
	if clean == 0 {
		t.Error("no CA was clean: this test proves nothing")
	}
}

// What cannot be read is an error of some file, whatever is in it.
func FuzzLintFiles(f *testing.F) {
	signer := below(f, newRoot(f, "root"), "signer", 0)
	files, err := signer.Files()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(files.Root.Data, files.CACert.Data, files.CAKey.Data, files.Chain.Data)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN"), []byte("\xef\xbb\xbf"), []byte("\r\n"))
	f.Fuzz(func(t *testing.T, root, cert, key, chain []byte) {
		files := pki.Files{Root: pki.File{Name: "r", Data: root}, CACert: pki.File{Name: "c", Data: cert}, CAKey: pki.File{Name: "k", Data: key}, Chain: pki.File{Name: "h", Data: chain}}
		faulty := slices.ContainsFunc(pki.LintFiles(files), func(f pki.Finding) bool { return f.Severity == pki.SeverityError })
		a, err := pki.ParsePublic(files)
		if err != nil && !faulty {
			t.Fatalf("it cannot be read (%v), and no finding says so", err)
		}
		if _, err := pki.ParseKey(key); err != nil && !faulty {
			t.Fatalf("the key cannot be read (%v), and no finding says so", err)
		}
		if a != nil {
			pki.LintAuthority(a, clock)
			pki.LintPair(a, a, clock)
		}
	})
}
