package plugin_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/plugin"
)

// signElsewhere is the offline root: it signs what the request asks for.
func signElsewhere(t *testing.T, b *bench, request []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(request)
	if block == nil {
		t.Fatal("the request is not PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil {
		t.Fatalf("the request: %v, %v", err, csr.CheckSignature())
	}
	identities, err := pki.ParseIdentities(b.read("key.txt"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := pki.Unseal(strings.NewReader(string(b.read("new.age"))), identities...)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.ParseKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	root, err := pki.ParseBundle(b.read("new", "root-cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	// As "openssl x509 -req -copy_extensions copy" and step do.
	template := &x509.Certificate{SerialNumber: big.NewInt(99), Subject: csr.Subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour), ExtraExtensions: csr.Extensions, SubjectKeyId: []byte{1, 2, 3, 4}}
	der, err := x509.CreateCertificate(rand.Reader, template, root.Certs[0].X509, csr.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil || !cert.IsCA || !cert.MaxPathLenZero || cert.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
		t.Fatalf("what the request asks for is no intermediate: %v, CA %t, key usage %b", err, cert.IsCA, cert.KeyUsage)
	}
	return pki.NewCertificate(der).PEM()
}

// TestN3_RequestAndAccept: a request out, a signed certificate in; the root's key is
// never here, the intermediate's for its owner alone or sealed.
func TestN3_RequestAndAccept(t *testing.T) {
	b := newBench(t)
	for name, flags := range map[string][]string{
		"clear": nil, "sealed": {"--seal-to", b.recipient, "--identity", b.identity, "--sealed-file", b.path("sealed.age")},
	} {
		t.Run(name, func(t *testing.T) {
			folder := b.path("csr-" + name)
			b.must(append([]string{"ca", "csr", "--out", folder, "--trust-domain", "td.example"}, flags...)...)
			signed := b.write("signed-"+name+".pem", signElsewhere(t, b, b.read("csr-"+name, "ca.csr")))
			key := b.path("csr-"+name, "ca-key.pem")
			if flags != nil {
				if _, err := os.Stat(key); err == nil {
					t.Error("the key lies in clear beside its sealed copy")
				}
				key = b.path("sealed.age")
			}
			if info, err := os.Stat(key); err != nil || info.Mode() != 0o600 {
				t.Errorf("the key: %v, %v", info, err)
			}
			accept := func(cert, key, out string) ran {
				args := []string{"ca", "accept", "--ca-key", key, "--ca-cert", cert, "--root", b.path("new", "root-cert.pem"), "--out", out}
				if flags != nil {
					args = append(args, "--identity", b.identity)
				}
				return meshca("", args...)
			}
			if r := accept(signed, key, b.path("ca-"+name)); r.code != plugin.ExitOK {
				t.Fatalf("exit %d: %s", r.code, r.err)
			}
			b.must(append([]string{"ca", "lint"}, b.path("ca-"+name))...)
			if r := accept(signed, key, b.path("ca-"+name)); r.code != plugin.ExitError || !strings.Contains(r.err, "is there already") {
				t.Errorf("written over: %d, %s", r.code, r.err)
			}
			// The answer to another request, and a certificate of another root.
			if r := accept(b.path("new", "ca-cert.pem"), key, b.path("x-"+name)); r.code != plugin.ExitFindings || !strings.Contains(r.err, "not made for the key") {
				t.Errorf("another certificate: %d, %s", r.code, r.err)
			}
			if _, err := os.Stat(b.path("x-" + name)); err == nil {
				t.Error("something is left of what was refused")
			}
		})
	}
	other := meshca("", "ca", "accept", "--ca-key", b.path("new", "ca-key.pem"), "--ca-cert", b.path("new", "ca-cert.pem"), "--root", b.path("old", "root-cert.pem"), "--out", b.path("y"))
	if other.code != plugin.ExitFindings {
		t.Errorf("another root: %d, %s", other.code, other.err)
	}
	for _, args := range [][]string{
		{"ca", "csr"}, {"ca", "csr", "--out", "x", "--key", "dsa"}, {"ca", "csr", "--out", "x", "--seal-to", "age1"}, {"ca", "csr", "--out", "x", "--identity", "f"},
		{"ca", "accept"}, {"ca", "accept", "--ca-key", "k", "--ca-cert", "c", "--root", "r"}, {"ca", "csr", "--out", "x", "-o", "xml"},
	} {
		if r := meshca("", args...); r.code != plugin.ExitUsage {
			t.Errorf("%v: exit %d", args, r.code)
		}
	}
	if r := meshca("", "ca", "csr", "--out", b.path("csr-clear")); r.code != plugin.ExitError {
		t.Errorf("a request over another one: exit %d", r.code)
	}
}

// TestAcceptedAsLinted: what accept writes, lint takes, whatever the files looked like
// that came back; and its warnings are told, as those of an intermediate under a root
// of before.
func TestAcceptedAsLinted(t *testing.T) {
	b := newBench(t)
	b.must("ca", "csr", "--out", b.path("asked"))
	signed := b.write("signed.pem", signElsewhere(t, b, b.read("asked", "ca.csr")))
	root := string(b.read("new", "root-cert.pem"))
	for name, test := range map[string]struct{ root, warning string }{
		"as it should be": {root, ""},
		"CRLF":            {strings.ReplaceAll(root, "\n", "\r\n"), ""},
		"text before it":  {"Bag Attributes\n" + root, ""},
		"no newline":      {strings.TrimSpace(root), ""},
		"a blank line":    {strings.Replace(root, "\n-----END", "\n\n-----END", 1), ""},
		"a chain in it":   {string(b.read("signed.pem")) + root, ""},
		"twice":           {root + root, "warning: root bundle: it holds a certificate more than once\nhint: leave one of each\n"},
	} {
		t.Run(name, func(t *testing.T) {
			out := b.path("accepted " + name)
			r := b.must("ca", "accept", "--ca-key", b.path("asked", "ca-key.pem"), "--ca-cert", signed, "--root", b.write("root of "+name, []byte(test.root)), "--out", out)
			if r.err != test.warning {
				t.Errorf("warned %q, want %q", r.err, test.warning)
			}
			args := []string{"ca", "lint", out}
			if test.warning == "" {
				args = append(args, "--fail-on", "warning")
			}
			b.must(args...)
		})
	}
	if r := b.must("ca", "new", "--out", b.path("brief"), "--by", b.path("new", "root-cert.pem"), "--by-key", b.path("new.age"), "--identity", b.identity, "--lifetime", "10d"); !strings.Contains(r.err, ": it expires in ") || !strings.Contains(r.err, "hint: have it renewed") {
		t.Errorf("not warned: %s", r.err)
	}
}
