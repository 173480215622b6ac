package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"
)

// seedCertificate has an extension of every kind that is read.
func seedCertificate(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "seed", Organization: []string{"cluster.local"}},
		NotBefore: from, NotAfter: from.AddDate(30, 0, 0), IsCA: true, BasicConstraintsValid: true, MaxPathLen: 3,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		SubjectKeyId: []byte{1, 2, 3}, AuthorityKeyId: []byte{4, 5, 6}, DNSNames: []string{"a.example.org"},
		URIs:                []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/a/sa/b"}},
		PermittedURIDomains: []string{"cluster.local"}, ExcludedDNSDomains: []string{"example.com"}, PolicyIdentifiers: []oid{{1, 2, 3}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// FuzzReadFields: what Go parses is read alike, and nothing panics.
func FuzzReadFields(f *testing.F) {
	f.Add([]byte{0x30, 0})
	f.Add(seedCertificate(f))
	f.Fuzz(func(t *testing.T, der []byte) {
		c := NewCertificate(der)
		got := readFields(c)
		x := c.X509
		if x == nil || got.broken != nil || got.odd != nil {
			return
		}
		if got.version != x.Version || !bytes.Equal(got.subject, x.RawSubject) || !bytes.Equal(got.issuer, x.RawIssuer) || got.serial.Cmp(x.SerialNumber) != 0 {
			t.Fatalf("Go reads version %d serial %d, this %d %d", x.Version, x.SerialNumber, got.version, got.serial)
		}
		if !got.notBefore.Equal(x.NotBefore) || !got.notAfter.Equal(x.NotAfter) {
			t.Fatalf("Go reads %s to %s, this %s to %s", x.NotBefore, x.NotAfter, got.notBefore, got.notAfter)
		}
		if got.ku != x.KeyUsage || got.hasBC && got.ca != x.IsCA || !bytes.Equal(got.ski, x.SubjectKeyId) || !bytes.Equal(got.aki.keyID, x.AuthorityKeyId) {
			t.Fatalf("Go reads usage %b ca %t ski %x aki %x, this %b %t %x %x", x.KeyUsage, x.IsCA, x.SubjectKeyId, x.AuthorityKeyId, got.ku, got.ca, got.ski, got.aki.keyID)
		}
		if got.hasBC && got.pathLen != pathLen(x) {
			t.Fatalf("Go reads path length %d, this %d", pathLen(x), got.pathLen)
		}
		if len(got.eku) != len(x.ExtKeyUsage)+len(x.UnknownExtKeyUsage) || len(got.uris()) != len(x.URIs) {
			t.Fatal("usages or names are lost")
		}
		if got.maySignCerts() && x.KeyUsage != 0 && x.KeyUsage&x509.KeyUsageCertSign == 0 {
			t.Fatal("a certificate that may not sign others may")
		}
	})
}
