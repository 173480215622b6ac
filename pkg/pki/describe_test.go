package pki_test

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"reflect"
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
	for name, test := range map[string]struct {
		cert *pki.Certificate
		ok   func(pki.Description) bool
	}{
		"root":                 {m.Make(root), func(d pki.Description) bool { return d.SelfSigned && d.CA && d.PathLen == nil && d.Serial == "ff" }},
		"of one name only":     {m.Make(&pairs.Cert{DN: "r", By: &pairs.Cert{DN: "r"}, NoSKI: true, NoAKI: true}), func(d pki.Description) bool { return !d.SelfSigned && d.CA }},
		"leaf":                 {m.Make(pairs.Leaf(root)), func(d pki.Description) bool { return !d.CA && !d.SelfSigned && d.DaysLeft == 0 }},
		"expired for an hour":  {m.Make(&pairs.Cert{DN: "r", From: -2 * time.Hour, To: -time.Hour}), func(d pki.Description) bool { return d.DaysLeft == -1 }},
		"unparsable":           {pki.NewCertificate([]byte("x")), func(d pki.Description) bool { return d.Error != "" && d.Subject != "" && !d.CA }},
		"negative serial":      {m.Make(&pairs.Cert{DN: "r", Serial: -1}), func(d pki.Description) bool { return d.Error != "" }},
		"referred to, unknown": {&pki.Certificate{}, func(d pki.Description) bool { return d.Error != "" }},
	} {
		if d := pki.Describe(test.cert, clock); !test.ok(d) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}
