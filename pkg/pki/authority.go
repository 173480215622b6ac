package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Lifetimes of a CA that is made here, where nothing else is said, and how far it
// is dated back, so that a clock that is behind takes it.
const (
	RootLifetime         = 87600 * time.Hour
	IntermediateLifetime = 43800 * time.Hour
	Backdating           = time.Hour
)

// Authority is a CA: what a mesh's CA Secret holds.
type Authority struct {
	// Cert is the certificate that signs.
	Cert *Certificate
	// Key is its key, nil where only the certificate is known. It is never printed.
	Key crypto.Signer `json:"-"`
	// Chain is what stands between Cert and the root, without either; it may be empty.
	Chain []*Certificate
	// Roots is the root bundle; the first root is the one that Cert hangs from.
	Roots Bundle
}

// Format prints whose authority it is and never its key, which %v and %#v would
// print with every other field.
func (a Authority) Format(state fmt.State, _ rune) {
	name := "no certificate"
	if a.Cert != nil {
		name = a.Cert.Subject()
	}
	fmt.Fprintf(state, "authority(%q)", name)
}

// KeyMatches reports whether Key is the key of Cert; without either it is not.
func (a *Authority) KeyMatches() bool {
	return a.Key != nil && a.Cert != nil && a.Cert.X509 != nil && SameKey(a.Cert.X509.PublicKey, a.Key.Public())
}

// KeyPEM is the key for the one Secret that istiod reads (see MarshalKey).
func (a *Authority) KeyPEM() ([]byte, error) { return MarshalKey(a.Key) }

// Request says what CA is to be made.
type Request struct {
	// Subject names the CA. Each generation needs a name of its own (see LintPair).
	Subject pkix.Name
	// Key is the kind of key; ECDSAP256 where empty.
	Key KeySpec
	Now time.Time
	// Lifetime counts from Now; 0 is RootLifetime or IntermediateLifetime.
	Lifetime time.Duration
	// PathLen is how many CAs may follow, -1 for any number. A root below which none
	// may follow signs no intermediate: 0 is -1 in NewRoot.
	PathLen  int
	DNSNames []string
}

// NewRoot makes a self-signed root with its key; its bundle is itself.
func NewRoot(r Request) (*Authority, error) {
	if r.PathLen == 0 {
		r.PathLen = -1
	}
	key, template, err := r.template(RootLifetime)
	if err != nil {
		return nil, fmt.Errorf("making a root: %w", err)
	}
	template.AuthorityKeyId = template.SubjectKeyId
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Authority{Cert: cert, Key: key, Roots: NewBundle(cert)}, nil
}

// NewIntermediate makes a CA below this one, that does not outlive it; its bundle
// is this one's.
func (a *Authority) NewIntermediate(r Request) (*Authority, error) {
	if err := a.maySignCA(); err != nil {
		return nil, fmt.Errorf("signing an intermediate: %w", err)
	}
	key, template, err := r.template(IntermediateLifetime)
	if err != nil {
		return nil, fmt.Errorf("signing an intermediate: %w", err)
	}
	parent := a.Cert.X509
	template.NotAfter = earlier(template.NotAfter, parent.NotAfter)
	if !template.NotAfter.After(r.Now) {
		return nil, fmt.Errorf("signing an intermediate: %s expired at %s", a.Cert.Subject(), parent.NotAfter.UTC().Format(time.RFC3339))
	}
	cert, err := sign(template, parent, key.Public(), a.Key)
	if err != nil {
		return nil, err
	}
	if sameName(cert.X509.RawSubject, parent.RawSubject) {
		return nil, fmt.Errorf("signing an intermediate: it would have the name of its issuer, %s", a.Cert.Subject())
	}
	below := &Authority{Cert: cert, Key: key, Roots: a.Roots}
	if !selfSigned(a.Cert) {
		below.Chain = append(below.Chain, a.Cert)
	}
	below.Chain = append(below.Chain, a.Chain...)
	return below, nil
}

// maySign says why a can sign nothing.
func (a *Authority) maySign() error {
	switch {
	case a.Cert == nil:
		return errors.New("the certificate of the issuer is not at hand")
	case a.Cert.X509 == nil:
		return fmt.Errorf("%s: %w", a.Cert.Subject(), a.Cert.Err)
	case a.Key == nil:
		return fmt.Errorf("the key of %s is not at hand", a.Cert.Subject())
	case !a.KeyMatches():
		return fmt.Errorf("%w %s", ErrWrongKey, a.Cert.Subject())
	case !a.Cert.X509.BasicConstraintsValid || !a.Cert.X509.IsCA:
		return fmt.Errorf("%s is no CA", a.Cert.Subject())
	case !maySignCerts(a.Cert.X509):
		return fmt.Errorf("%s may not sign certificates (key usage)", a.Cert.Subject())
	}
	return nil
}

// maySignCA says why a can sign no CA.
func (a *Authority) maySignCA() error {
	if err := a.maySign(); err != nil {
		return err
	}
	if pathLen(a.Cert.X509) == 0 {
		return fmt.Errorf("%s may have no CA below it (path length 0)", a.Cert.Subject())
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (r Request) template(lifetime time.Duration) (crypto.Signer, *x509.Certificate, error) {
	if r.Lifetime != 0 {
		lifetime = r.Lifetime
	}
	spec := r.Key
	if spec == "" {
		spec = ECDSAP256
	}
	switch {
	case len(r.Subject.ToRDNSequence()) == 0:
		return nil, nil, errors.New("a CA needs a subject: peers find an issuer by its name")
	case r.Now.IsZero():
		return nil, nil, errors.New("it is not said when")
	case lifetime < 0:
		return nil, nil, fmt.Errorf("the lifetime %s is negative", lifetime)
	case r.PathLen < -1:
		return nil, nil, fmt.Errorf("the path length %d is below -1", r.PathLen)
	}
	key, err := spec.Generate()
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	id, err := keyID(key.Public())
	if err != nil {
		return nil, nil, err
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: r.Subject, NotBefore: r.Now.Add(-Backdating).UTC(), NotAfter: r.Now.Add(lifetime).UTC(),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: r.PathLen, MaxPathLenZero: r.PathLen == 0,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: id, DNSNames: r.DNSNames,
	}
	return key, template, nil
}

// keyID is the key identifier of RFC 5280 4.2.1.2 (1): the SHA-1 of the key. It
// names a key; nothing rests on its strength.
func keyID(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("reading a public key: %w", err)
	}
	bits, err := keyBits(der)
	if err != nil {
		return nil, fmt.Errorf("reading a public key: %w", err)
	}
	sum := sha1.Sum(bits)
	return sum[:], nil
}

// keyBits are the bits of the key in a SubjectPublicKeyInfo.
func keyBits(der []byte) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, err
	}
	return info.Key.RightAlign(), nil
}

func serialNumber() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 127)
	serial, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", template.Subject, err)
	}
	cert := NewCertificate(der)
	if cert.Err != nil {
		return nil, fmt.Errorf("reading back %s: %w", template.Subject, cert.Err)
	}
	return cert, nil
}
