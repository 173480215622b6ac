package pki

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// formOf recognises what a file is that has no whole PEM block: what other tools
// write, and what copying makes of PEM. The message never repeats what is in the
// file.
func formOf(data []byte) (id, message string) {
	text := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return "utf-16", "it is text in UTF-16"
	case bytes.HasPrefix(data, []byte("\xfe\xed\xfe\xed")):
		return "keystore", "it is a Java key store"
	case len(text) > 0 && text[0] == '{':
		return ofJSON(text)
	case bytes.Contains(text, []byte("kind: Secret")), bytes.Contains(text, []byte("kind: ConfigMap")):
		return "manifest", "it is a Kubernetes manifest"
	case bytes.Contains(text, []byte(`-----\n`)):
		return "escaped-newlines", `its lines end in the two characters \n instead of a line feed`
	case bytes.HasPrefix(text, []byte("LS0tLS1CRUdJTi")):
		return "base64", "it is PEM in base64 once more, as a Secret's data is"
	case isPFX(data):
		return "pkcs12", "it is a PKCS#12 file"
	case isSignedData(data):
		return "pkcs7", "it is PKCS#7 as DER (.p7b)"
	case isEncryptedKey(data):
		return "encrypted-key", "it is an encrypted private key as DER"
	}
	if _, err := x509.ParseCertificate(data); err == nil {
		return "not-pem", "it is a certificate as DER, not PEM"
	}
	if _, err := parsePrivate(data); err == nil {
		return "der-key", "it is a private key as DER, not PEM"
	}
	if raw, err := base64.StdEncoding.DecodeString(string(text)); err == nil {
		if _, err := x509.ParseCertificate(raw); err == nil {
			return "base64", "it is a certificate in base64, without the lines of PEM around it"
		}
	}
	return "not-pem", "it is not PEM"
}

// ofJSON tells by the names of the fields who wrote it.
func ofJSON(text []byte) (id, message string) {
	var answer struct {
		Data       map[string]json.RawMessage `json:"data"` // Vault's
		Cert       string                     `json:"cert"` // cfssl's
		Key        string                     `json:"key"`
		Ciphertext string                     `json:"ciphertext"` // a JWE, step's encrypted keys
		KTY        string                     `json:"kty"`        // a JWK
		Kind       string                     `json:"kind"`
	}
	_ = json.Unmarshal(text, &answer) // a document that is cut or of another shape is JSON all the same
	has := func(name string) bool { _, ok := answer.Data[name]; return ok }
	switch {
	case answer.Ciphertext != "":
		return "encrypted-key", "it is an encrypted key as JSON (JWE)"
	case answer.KTY != "":
		return "json", "it is a JSON web key: step crypto key format --pem FILE"
	case answer.Kind == "Secret" || answer.Kind == "ConfigMap":
		return "manifest", "it is a Kubernetes manifest"
	case answer.Cert != "" || answer.Key != "":
		return "json", "it is cfssl's JSON: cfssljson -bare ca < FILE"
	case bytes.Contains(text, []byte(`"Certificate"`)): // letter case counts, and is none of encoding/json
		return "json", "it is AWS's JSON: its .Certificate is the certificate, .CertificateChain what stands above, the root last"
	case has("certificate"):
		return "json", "it is Vault's JSON: its .data.certificate is the certificate, .data.private_key its key, .data.ca_chain what stands above, .data.issuing_ca the next above alone"
	}
	return "json", "it is JSON"
}

// isPFX: PKCS#12 begins with a sequence whose first element is the number 3
// (RFC 7292 section 4).
func isPFX(data []byte) bool {
	var pfx struct {
		Version  *big.Int
		AuthSafe struct {
			ContentType asn1.ObjectIdentifier
			Content     asn1.RawValue `asn1:"explicit,tag:0,optional"`
		}
		MAC asn1.RawValue `asn1:"optional"`
	}
	_, err := asn1.Unmarshal(data, &pfx)
	return err == nil && pfx.Version.Cmp(big.NewInt(3)) == 0 && pfx.AuthSafe.ContentType.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1})
}

// isSignedData: PKCS#7 that carries certificates (RFC 5652 sections 3 and 5).
func isSignedData(data []byte) bool {
	var info struct {
		ContentType asn1.ObjectIdentifier
		Content     asn1.RawValue `asn1:"explicit,tag:0"`
	}
	_, err := asn1.Unmarshal(data, &info)
	return err == nil && info.ContentType.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2})
}

// isEncryptedKey: PKCS#8 under one of the encryptions by a passphrase of PKCS#5 or PKCS#12
// (RFC 5958 section 3, RFC 8018 appendix A, RFC 7292 appendix C).
func isEncryptedKey(data []byte) bool {
	var key struct {
		Algorithm pkix.AlgorithmIdentifier
		Encrypted []byte
	}
	rest, err := asn1.Unmarshal(data, &key)
	id := key.Algorithm.Algorithm.String()
	return err == nil && len(rest) == 0 && (strings.HasPrefix(id, "1.2.840.113549.1.5.") || strings.HasPrefix(id, "1.2.840.113549.1.12.1."))
}

// foreign records a PEM block that is no certificate, by its kind.
func (l *linter) foreign(kind, name string) {
	switch kind {
	case "PKCS7", "CMS":
		l.add("pkcs7", name, fmt.Sprintf("it holds a %q", kind))
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		l.add("request", name, "it holds a request for a certificate, which nobody has signed")
	case "X509 CRL":
		l.add("crl", name, "it holds a list of revoked certificates")
	default:
		l.add("foreign-block", name, fmt.Sprintf("it holds a %q", kind))
	}
}

// keyForm records what stands where a private key should.
func (l *linter) keyForm(file File, err error) {
	block, _ := pem.Decode(file.Data)
	switch {
	case block != nil && block.Type == "OPENSSH PRIVATE KEY":
		l.add("openssh-key", file.Name, "it holds a key in OpenSSH's own form")
	case block != nil && strings.HasSuffix(block.Type, "PUBLIC KEY"):
		l.add("public-key", file.Name, "it holds a public key")
	default:
		l.add("bad-key", file.Name, "it holds no key that can be used: "+err.Error())
	}
}

// signerFirst: the first certificate of the file signs, whatever the key says. A
// bundle written from the root down has it last.
func (l *linter) signerFirst(f Files, certs []*Certificate) {
	key, err := ParseKey(f.CAKey.Data)
	if err != nil || len(certs) < 2 || certs[0].X509 == nil {
		return
	}
	fits := func(c *Certificate) bool { return c.X509 != nil && SameKey(c.X509.PublicKey, key.Public()) }
	if i := slices.IndexFunc(certs, fits); i > 0 {
		l.add("signer-not-first", f.CACert.Name, fmt.Sprintf("the key is that of its certificate %d, %s, and istiod takes the first, %s", i+1, certs[i].Subject(), certs[0].Subject()))
	}
}
