package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"pgregory.net/rapid"
)

// clock is the moment all certificates of these tests are made at.
var clock = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

func selfSigned(t testing.TB, name string) *pki.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: clock.Add(-time.Hour), NotAfter: clock.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pki.NewCertificate(der)
}

func TestParseBundle(t *testing.T) {
	a, b := selfSigned(t, "a"), selfSigned(t, "b")
	pemA, pemB := string(a.PEM()), string(b.PEM())
	key := "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"
	for name, test := range map[string]struct {
		in    string
		certs int
		err   string
	}{
		"one":                   {in: pemA, certs: 1},
		"two":                   {in: pemA + pemB, certs: 2},
		"duplicates are kept":   {in: pemA + pemA, certs: 2},
		"comments":              {in: "# root\n" + pemA + "subject=b\n" + pemB, certs: 2},
		"crlf":                  {in: strings.ReplaceAll(pemA+pemB, "\n", "\r\n"), certs: 2},
		"no final newline":      {in: strings.TrimSpace(pemA), certs: 1},
		"empty":                 {in: "", err: pki.ErrEmptyBundle.Error()},
		"only text":             {in: "hello", err: pki.ErrEmptyBundle.Error()},
		"a key":                 {in: pemA + key, err: `block 2 is a "EC PRIVATE KEY"`},
		"cut":                   {in: pemA + pemB[:len(pemB)/2], err: "2 PEM blocks begin, 1 are whole"},
		"glued without newline": {in: strings.TrimSpace(pemA) + pemB, err: "PEM blocks begin"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := pki.ParseBundle([]byte(test.in))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Certs) != test.certs || !bytes.Equal(got.Raw, []byte(test.in)) {
				t.Fatalf("%d certificates, want %d; raw kept: %t", len(got.Certs), test.certs, bytes.Equal(got.Raw, []byte(test.in)))
			}
		})
	}
	if _, err := pki.ParseBundle(nil); !errors.Is(err, pki.ErrEmptyBundle) {
		t.Errorf("an empty bundle gave %v", err)
	}
}

func TestSets(t *testing.T) {
	certs := []*pki.Certificate{selfSigned(t, "a"), selfSigned(t, "b"), selfSigned(t, "c")}
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(rapid.SampledFrom(certs)).Draw(t, "list")
		more := rapid.SliceOf(rapid.SampledFrom(certs)).Draw(t, "more")
		set, all := pki.NewSet(list...), pki.NewSet(append(list[:len(list):len(list)], more...)...)
		if !all.Contains(set) {
			t.Fatal("a union lacks one of its parts")
		}
		if set.Equal(all) != set.Contains(all) {
			t.Fatal("a set that contains its superset is not equal to it")
		}
		for _, c := range list {
			if !set.Has(c) {
				t.Fatalf("lost %s", c.Subject())
			}
		}
	})
}

func TestFingerprintText(t *testing.T) {
	want := selfSigned(t, "a").Fingerprint()
	text, err := want.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var got pki.Fingerprint
	if err := got.UnmarshalText(bytes.ToUpper(text)); err != nil || got != want {
		t.Fatalf("%s: %v", got, err)
	}
	for _, bad := range []string{"", "zz", "ab"} {
		if err := got.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was taken for a fingerprint", bad)
		}
	}
}

func FuzzParseBundle(f *testing.F) {
	f.Add(selfSigned(f, "a").PEM())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := pki.ParseBundle(raw)
		if err == nil && len(b.Certs) == 0 {
			t.Fatal("no error and no certificate")
		}
		for _, c := range b.Certs {
			if (c.X509 == nil) == (c.Err == nil) {
				t.Fatal("a certificate is either parsed or has an error")
			}
		}
	})
}
