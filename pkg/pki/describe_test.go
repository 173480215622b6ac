package pki_test

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
)

func TestDescribe(t *testing.T) {
	m := maker(1)
	root := &pairs.Cert{DN: "root", Serial: 255, To: 36 * time.Hour}
	signer := m.Make(&pairs.Cert{
		DN: "signer", By: root, PathLen: 3, AKISerial: 255, To: 25 * time.Hour, SPIFFE: "spiffe://a/b", DNS: "a.b",
		EKU: []asn1.ObjectIdentifier{usage(1), usage(2), {1, 2, 3}}, Extra: []pkix.Extension{pairs.URIConstraint(6, true, "a")},
	})
	two := 2
	got := pki.Describe(signer, clock)
	want := pki.Description{
		Fingerprint: signer.Fingerprint(), Subject: "CN=signer", Issuer: "CN=root", Serial: got.Serial, NotBefore: clock.Add(-time.Hour), NotAfter: clock.Add(25 * time.Hour), DaysLeft: 1,
		SubjectKeyID: hex.EncodeToString(signer.X509.SubjectKeyId), AuthorityKeyID: hex.EncodeToString(m.Make(root).X509.SubjectKeyId), AuthoritySerial: "ff",
		CA: true, PathLen: &two, Key: "ecdsa-p256", Signature: "ECDSA-SHA256", KeyUsage: []string{"keyCertSign", "cRLSign"}, ExtKeyUsage: []string{"serverAuth", "clientAuth", "1.2.3"},
		URIs: []string{"spiffe://a/b"}, DNSNames: []string{"a.b"}, NameConstraints: "permit URIs of a",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	address, err := asn1.Marshal([]asn1.RawValue{{Class: 2, Tag: 7, Bytes: []byte{10, 0, 0, 1}}, {Class: 2, Tag: 1, Bytes: []byte("a@b.c")}})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		cert *pki.Certificate
		ok   func(pki.Description) bool
	}{
		"root":                {m.Make(root), func(d pki.Description) bool { return d.SelfSigned && d.CA && d.PathLen == nil && d.Serial == "ff" }},
		"of one name only":    {m.Make(&pairs.Cert{DN: "r", By: &pairs.Cert{DN: "r"}, NoSKI: true, NoAKI: true}), func(d pki.Description) bool { return !d.SelfSigned && d.CA }},
		"leaf":                {m.Make(pairs.Leaf(root)), func(d pki.Description) bool { return !d.CA && !d.SelfSigned && d.DaysLeft == 0 }},
		"expired for an hour": {m.Make(&pairs.Cert{DN: "r", From: -2 * time.Hour, To: -time.Hour}), func(d pki.Description) bool { return d.DaysLeft == -1 }},
		"unparsable":          {pki.NewCertificate([]byte("x")), func(d pki.Description) bool { return d.Error != "" && d.Subject != "" && !d.CA }},
		"named by no URI": {m.Make(&pairs.Cert{DN: "r", Extra: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: address}}}), func(d pki.Description) bool {
			return slices.Equal(d.Names(), []string{"10.0.0.1", "a@b.c"}) && len(d.IPs) == 1 && len(d.Emails) == 1
		}},
		"negative serial":      {m.Make(&pairs.Cert{DN: "r", Serial: -1}), func(d pki.Description) bool { return d.Error != "" }},
		"referred to, unknown": {&pki.Certificate{}, func(d pki.Description) bool { return d.Error != "" }},
	} {
		if d := pki.Describe(test.cert, clock); !test.ok(d) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// A certificate that never shall end does so in the year 9999: further away than a
// time.Duration reaches.
func TestDaysLeft(t *testing.T) {
	for _, test := range []struct {
		end  time.Time
		want int
	}{
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), 2912115},
		{clock.Add(24 * time.Hour), 1},
		{clock.Add(24*time.Hour - time.Nanosecond), 0},
		{clock, 0},
		{clock.Add(-time.Second), -1},
		{clock.Add(-24 * time.Hour), -1},
		{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), -739943},
	} {
		if got := pki.DaysLeft(test.end, clock); got != test.want {
			t.Errorf("until %s: %d, want %d", test.end, got, test.want)
		}
	}
	if got := pki.DaysLeft(clock, clock.Add(time.Nanosecond)); got != -1 {
		t.Errorf("an end that is past by a nanosecond: %d", got)
	}
}

func TestKeysThatGoDoesNotRead(t *testing.T) {
	m := maker(1)
	pss := m.Make(&pairs.Cert{DN: "pss", Key: pairs.RSA(0), PSS: true, Edit: func(parts []asn1.RawValue) []asn1.RawValue {
		// id-RSASSA-PSS instead of rsaEncryption, without parameters
		parts[6].FullBytes = bytes.Replace(parts[6].FullBytes, []byte("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"), []byte("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"), 1)
		return parts
	}})
	if got := pki.Describe(pss, clock); got.Key != "unknown, 1.2.840.113549.1.1.10" || got.Signature != "SHA256-RSAPSS" {
		t.Errorf("key %q, signature %q", got.Key, got.Signature)
	}
	odd := []byte("\x30\x05\x06\x03\x2a\x03\x04")
	other := m.Make(&pairs.Cert{DN: "other", Outer: odd, Edit: func(parts []asn1.RawValue) []asn1.RawValue {
		parts[2] = asn1.RawValue{FullBytes: odd}
		return parts
	}})
	if got := pki.Describe(other, clock); got.Signature != "unknown, 1.2.3.4" {
		t.Errorf("signature %q", got.Signature)
	}
	if got := pki.Describe(m.Make(&pairs.Cert{DN: "ed", Key: m.Ed25519()}), clock); got.Key != "ed25519" {
		t.Errorf("key %q", got.Key)
	}
}
