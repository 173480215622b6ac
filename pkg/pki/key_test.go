package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

func pemBlock(kind string, der []byte, headers map[string]string) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der, Headers: headers})
}

func TestKeySpecs(t *testing.T) {
	for _, s := range pki.KeySpecs() {
		if got, err := pki.ParseKeySpec(strings.ToUpper(string(s))); err != nil || got != s {
			t.Errorf("%s was read as %s: %v", s, got, err)
		}
	}
	for _, bad := range []string{"", "rsa", "rsa-1024", "ecdsa-p224", "ed25519"} {
		if _, err := pki.ParseKeySpec(bad); err == nil {
			t.Errorf("%q is a kind of key", bad)
		}
	}
}

func TestParseKey(t *testing.T) {
	ec, err := pki.ECDSAP384.Generate()
	if err != nil {
		t.Fatal(err)
	}
	rsa, err := pki.RSA2048.Generate()
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(key crypto.PrivateKey) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pemBlock("PRIVATE KEY", der, nil)
	}
	own := func(key crypto.Signer) []byte {
		raw, err := pki.MarshalKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	parameters := pemBlock("EC PARAMETERS", []byte{6, 5, 0x2b, 0x81, 4, 0, 0x22}, nil)
	encrypted := map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}
	for name, test := range map[string]struct {
		raw  []byte
		want crypto.Signer
		err  string
	}{
		"PKCS#1":            {raw: own(rsa), want: rsa},
		"SEC1":              {raw: own(ec), want: ec},
		"PKCS#8 RSA":        {raw: pkcs8(rsa), want: rsa},
		"PKCS#8 ECDSA":      {raw: pkcs8(ec), want: ec},
		"curve before it":   {raw: join(parameters, own(ec)), want: ec},
		"CRLF and comment":  {raw: join([]byte("my key\r\n"), bytes.ReplaceAll(own(ec), []byte("\n"), []byte("\r\n"))), want: ec},
		"no final newline":  {raw: bytes.TrimSpace(own(ec)), want: ec},
		"empty":             {err: pki.ErrNoKey.Error()},
		"curve alone":       {raw: parameters, err: pki.ErrNoKey.Error()},
		"two":               {raw: join(own(ec), own(rsa)), err: "more than one private key"},
		"one twice":         {raw: join(own(ec), own(ec)), err: "more than one private key"},
		"glued":             {raw: join(bytes.TrimSpace(own(ec)), own(rsa)), err: "PEM blocks begin"},
		"cut":               {raw: own(ec)[:100], err: "1 PEM blocks begin, 0 are whole"},
		"certificate":       {raw: selfSigned(t, "a").PEM(), err: `a "CERTIFICATE" where a private key should be`},
		"encrypted PKCS#8":  {raw: pemBlock("ENCRYPTED PRIVATE KEY", []byte("x"), nil), err: pki.ErrEncryptedKey.Error()},
		"encrypted PKCS#1":  {raw: pemBlock("RSA PRIVATE KEY", []byte("x"), encrypted), err: pki.ErrEncryptedKey.Error()},
		"Ed25519":           {raw: pkcs8(edwards), err: "neither RSA nor ECDSA"},
		"damaged":           {raw: pemBlock("PRIVATE KEY", []byte("geheim"), nil), err: "damaged"},
		"OpenSSH":           {raw: pemBlock("OPENSSH PRIVATE KEY", []byte("geheim"), nil), err: "damaged"},
		"public key":        {raw: pemBlock("PUBLIC KEY", []byte("x"), nil), err: `a "PUBLIC KEY" where`},
		"key, then garbage": {raw: join(own(ec), []byte("-----BEGIN")), err: "2 PEM blocks begin, 1 are whole"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := pki.ParseKey(test.raw)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				if strings.Contains(err.Error(), "geheim") {
					t.Error("the error repeats the file")
				}
				return
			}
			if err != nil || !pki.SameKey(got.Public(), test.want.Public()) {
				t.Fatalf("another key was read: %v", err)
			}
		})
	}
	if !strings.HasPrefix(string(own(rsa)), "-----BEGIN RSA PRIVATE KEY") || !strings.HasPrefix(string(own(ec)), "-----BEGIN EC PRIVATE KEY") {
		t.Error("keys are not written as istiod's own are")
	}
	if _, err := pki.MarshalKey(nil); !errors.Is(err, pki.ErrNoKey) {
		t.Errorf("no key was written: %v", err)
	}
	if _, err := pki.MarshalKey(edwards); err == nil {
		t.Error("an Ed25519 key was written")
	}
}

func FuzzParseKey(f *testing.F) {
	key, err := pki.ECDSAP256.Generate()
	if err != nil {
		f.Fatal(err)
	}
	raw, err := pki.MarshalKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		key, err := pki.ParseKey(raw)
		if (key == nil) == (err == nil) {
			t.Fatal("neither a key nor an error, or both")
		}
	})
}
