package pki_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// forms are files as other tools write them, each made from sound material (G12).
func forms(t *testing.T, add func(name, want string, change func(*pki.Files)), root, one, two *pki.Authority) {
	t.Helper()
	marshal := func(v any) []byte {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	der, err := x509.MarshalPKCS8PrivateKey(two.Key)
	if err != nil {
		t.Fatal(err)
	}
	type contentInfo struct {
		ContentType asn1.ObjectIdentifier
		Content     asn1.RawValue
	}
	pfx, err := asn1.Marshal(struct {
		Version  *big.Int
		AuthSafe contentInfo
	}{big.NewInt(3), contentInfo{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}, asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: []byte{4, 1, 0}}}})
	if err != nil {
		t.Fatal(err)
	}
	odd := func(kind string) []byte { return pemBlock(kind, []byte("x"), nil) }
	text := func(c *pki.Authority) string { return string(c.Cert.PEM()) }
	type m = map[string]any
	cert := func(name, want string, data []byte) {
		add(name, want, func(f *pki.Files) { f.CACert.Data = data })
	}
	key := func(name, want string, data []byte) {
		add(name, want, func(f *pki.Files) { f.CAKey.Data = data })
	}
	cert("cfssl's JSON", "e:json", marshal(m{"cert": text(two), "csr": "", "key": "-"}))
	cert("Vault's JSON", "e:json", marshal(m{"data": m{"certificate": text(two), "issuing_ca": text(one), "ca_chain": []string{text(one), text(root)}}}))
	cert("some JSON", "e:json", []byte("{}"))
	cert("JSON that is cut", "e:json", []byte(`{"data":`))
	key("step's encrypted key as JSON", "e:encrypted-key", marshal(m{"protected": "e30", "ciphertext": "AA", "iv": "AA", "tag": "AA"}))
	key("a JSON web key", "e:json", marshal(m{"kty": "EC", "d": "AA"}))
	key("a key with a passphrase, as step and older OpenSSL write it", "e:encrypted-key", pemBlock("EC PRIVATE KEY", []byte("x"), map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}))
	cert("PKCS#12", "e:pkcs12", pfx)
	cert("Java key store", "e:keystore", []byte("\xfe\xed\xfe\xed\x00\x00\x00\x02"))
	cert("PKCS#7", "e:pkcs7", odd("PKCS7"))
	signed, err := asn1.Marshal(contentInfo{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}, asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: []byte{0x30, 0}}})
	if err != nil {
		t.Fatal(err)
	}
	cert("PKCS#7 as DER", "e:pkcs7", signed)
	cert("PKCS#7 as Windows' CA calls it", "e:pkcs7", pemBlock("CERTIFICATE", signed, nil))
	sealed, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Encrypted []byte
	}{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}}, []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	key("encrypted DER key", "e:encrypted-key", sealed)
	cert("AWS's JSON", "e:json", marshal(m{"Certificate": text(two), "CertificateChain": text(one) + text(root)}))
	cert("a list of revoked certificates", "e:crl", append(bytes.Clone(two.Cert.PEM()), odd("X509 CRL")...))
	wide := []byte("\xff\xfe")
	for _, unit := range utf16.Encode([]rune(text(two))) {
		wide = append(wide, byte(unit), byte(unit>>8))
	}
	cert("UTF-16", "e:utf-16", wide)
	cert("base64 of PEM", "e:base64", []byte(base64.StdEncoding.EncodeToString(two.Cert.PEM())))
	cert("base64 without PEM", "e:base64", []byte(base64.StdEncoding.EncodeToString(two.Cert.DER)+"\n"))
	cert("newlines as text", "e:escaped-newlines", []byte(strings.ReplaceAll(text(two), "\n", "\\n")))
	cert("a Secret as YAML", "e:manifest", []byte("apiVersion: v1\nkind: Secret\ndata: {}\n"))
	cert("a Secret as JSON", "e:manifest", marshal(m{"kind": "Secret"}))
	cert("Bag Attributes", "w:text-outside", append([]byte("Bag Attributes\n    localKeyID: 01\nsubject=CN = two\n"), two.Cert.PEM()...))
	cert("the root first, as a bundle from the root down", "e:signer-not-first i:extra-certificates", pki.NewBundle(root.Cert, one.Cert, two.Cert).Raw)
	key("DER key", "e:der-key", der)
	key("OpenSSH's key", "e:openssh-key", odd("OPENSSH PRIVATE KEY"))
	key("public key", "e:public-key", odd("PUBLIC KEY"))
}

// TestG12_NoKeyInFindings: a file that is not what it should be may be the key, and
// no message repeats it.
func TestG12_NoKeyInFindings(t *testing.T) {
	ca := newRoot(t, "root")
	key, err := pki.MarshalKey(ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Split(string(key), "\n")[1]
	for name, data := range map[string]string{
		"JSON": `{"key":` + string(marshalText(t, key)) + `}`, "escaped": strings.ReplaceAll(string(key), "\n", `\n`), "base64": base64.StdEncoding.EncodeToString(key), "whole": string(key), "manifest": "kind: Secret\n" + line,
	} {
		for _, f := range pki.LintFiles(pki.Files{CACert: pki.File{Name: "c", Data: []byte(data)}, CAKey: pki.File{Name: "k", Data: []byte(data)}}) {
			if strings.Contains(f.Message+f.Hint+f.Subject, line[:16]) {
				t.Errorf("%s: %s repeats the key", name, f.ID)
			}
		}
	}
}

func marshalText(t *testing.T, raw []byte) []byte {
	t.Helper()
	text, err := json.Marshal(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
