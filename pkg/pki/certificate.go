package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
)

// Fingerprint is the SHA-256 of a certificate's DER: the only name a
// certificate has that nobody can choose.
type Fingerprint [sha256.Size]byte

// String is the fingerprint in lower-case hexadecimal.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// Short is the first eight hexadecimal digits, enough to tell apart the few
// certificates of one mesh on a screen; never used to compare.
func (f Fingerprint) Short() string { return hex.EncodeToString(f[:4]) }

// MarshalText writes the fingerprint as hexadecimal, so that it can be a JSON
// string or a map key.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what MarshalText wrote; colons and upper case, as openssl
// prints them, are understood too.
func (f *Fingerprint) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(strings.ToLower(strings.ReplaceAll(string(text), ":", "")))
	if err != nil {
		return fmt.Errorf("fingerprint %q: %w", text, err)
	}
	if len(b) != len(f) {
		return fmt.Errorf("fingerprint %q: %d bytes, want %d", text, len(b), len(f))
	}
	copy(f[:], b)
	return nil
}

// Certificate is one certificate by its exact DER. Certificates are compared by
// DER (see Fingerprint), never by name or serial number.
type Certificate struct {
	// DER is the certificate as it was found.
	DER []byte
	// X509 is Go's view of it, or nil where Go refuses to parse what Envoy may
	// accept (a negative serial number, for one).
	X509 *x509.Certificate
	// Err says why X509 is nil.
	Err error

	fingerprint Fingerprint
}

// NewCertificate takes a certificate's DER. It never fails: what Go cannot parse
// is kept with its error, because a bundle that holds it is still the bundle.
func NewCertificate(der []byte) *Certificate {
	c := &Certificate{DER: der, fingerprint: fingerprintOf(der)}
	c.X509, c.Err = x509.ParseCertificate(der)
	return c
}

// FromX509 wraps a certificate that Go has parsed already.
func FromX509(x *x509.Certificate) *Certificate {
	return &Certificate{DER: x.Raw, X509: x, fingerprint: fingerprintOf(x.Raw)}
}

func fingerprintOf(der []byte) Fingerprint { return sha256.Sum256(der) }

// Fingerprint is the SHA-256 of the DER.
func (c *Certificate) Fingerprint() Fingerprint { return c.fingerprint }

// Equal reports whether both are the same certificate, byte for byte.
func (c *Certificate) Equal(o *Certificate) bool { return c.fingerprint == o.fingerprint }

// PEM is the certificate as one PEM block that ends in a newline.
func (c *Certificate) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.DER})
}

// Subject is the subject's distinguished name for people, or the short
// fingerprint where Go could not parse the certificate. It is text that
// somebody else chose: escape it before it reaches a terminal.
func (c *Certificate) Subject() string {
	if c.X509 == nil {
		return "unparsable " + c.fingerprint.Short()
	}
	if name := c.X509.Subject.String(); name != "" {
		return name
	}
	return "no subject, " + c.fingerprint.Short()
}

// SPIFFE is the certificate's first SPIFFE ID, "" where it has none.
func (c *Certificate) SPIFFE() string {
	if c.X509 == nil {
		return ""
	}
	for _, uri := range c.X509.URIs {
		if uri.Scheme == "spiffe" {
			return uri.String()
		}
	}
	return ""
}

// KeyBits are those of the subject's public key that a key identifier is made of
// (RFC 5280 4.2.1.2, method 1), nil where Go could not parse the certificate.
func (c *Certificate) KeyBits() []byte {
	if c.X509 == nil {
		return nil
	}
	bits, _ := keyBits(c.X509.RawSubjectPublicKeyInfo) // of a certificate that was parsed it can be read
	return bits
}
