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
	"net/url"
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
	Key crypto.Signer
	// Chain is what stands between Cert and the root, without either; it may be empty.
	Chain []*Certificate
	// Roots is the root bundle; the first root is the one that Cert hangs from.
	Roots Bundle
}

// KeyMatches reports whether Key is the key of Cert.
func (a *Authority) KeyMatches() bool {
	return a.Key != nil && a.Cert != nil && a.Cert.X509 != nil && SameKey(a.Cert.X509.PublicKey, a.Key.Public())
}

// Request says what CA is to be made.
type Request struct {
	Subject  pkix.Name
	Key      KeySpec
	Now      time.Time
	Lifetime time.Duration
	// PathLen is how many CAs may follow, -1 for any number.
	PathLen  int
	DNSNames []string
}

// NewRoot makes a self-signed root with its key.
func NewRoot(r Request) (*Authority, error) {
	key, template, err := r.template(RootLifetime)
	if err != nil {
		return nil, err
	}
	template.AuthorityKeyId = template.SubjectKeyId
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Authority{Cert: cert, Key: key, Roots: NewBundle(cert)}, nil
}

// NewIntermediate makes a CA below this one, that does not outlive it.
func (a *Authority) NewIntermediate(r Request) (*Authority, error) {
	if !a.KeyMatches() {
		return nil, errors.New("signing an intermediate: the key of the issuer is not at hand")
	}
	key, template, err := r.template(IntermediateLifetime)
	if err != nil {
		return nil, err
	}
	parent := a.Cert.X509
	if template.NotAfter.After(parent.NotAfter) {
		template.NotAfter = parent.NotAfter
	}
	cert, err := sign(template, parent, key.Public(), a.Key)
	if err != nil {
		return nil, err
	}
	below := &Authority{Cert: cert, Key: key, Roots: a.Roots}
	if !selfSigned(a.Cert) {
		below.Chain = append([]*Certificate{a.Cert}, a.Chain...)
	}
	return below, nil
}

func (r Request) template(lifetime time.Duration) (crypto.Signer, *x509.Certificate, error) {
	if r.Lifetime > 0 {
		lifetime = r.Lifetime
	}
	if len(r.Subject.ToRDNSequence()) == 0 {
		return nil, nil, errors.New("a CA needs a subject: peers find an issuer by its name")
	}
	key, err := r.Key.Generate()
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
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, fmt.Errorf("reading a public key: %w", err)
	}
	sum := sha1.Sum(info.Key.RightAlign())
	return sum[:], nil
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
	return NewCertificate(der), nil
}

// CrossSign certifies another root under this CA: name, key, key identifier and
// constraints are the other root's own, so that whoever trusts this CA finds a
// way to it, and whoever trusts the other root stops there. It ends with the
// first of the two.
func (a *Authority) CrossSign(root *Certificate, now time.Time) (*Certificate, error) {
	switch {
	case !a.KeyMatches():
		return nil, errors.New("cross-signing: the key is not that of the certificate that is to sign")
	case root.X509 == nil:
		return nil, fmt.Errorf("cross-signing %s: %w", root.Subject(), root.Err)
	case !a.Cert.X509.IsCA || pathLen(a.Cert.X509) == 0:
		return nil, fmt.Errorf("cross-signing: %s may have no CA below it (path length 0)", a.Cert.Subject())
	case sameName(a.Cert.X509.RawSubject, root.X509.RawSubject):
		return nil, fmt.Errorf("cross-signing: both roots are called %s: peers could not tell them apart", root.Subject())
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	x := root.X509
	template := &x509.Certificate{
		SerialNumber: serial, RawSubject: x.RawSubject, Subject: x.Subject, NotBefore: now.Add(-Backdating).UTC(), NotAfter: x.NotAfter,
	}
	if end := a.Cert.X509.NotAfter; template.NotAfter.After(end) {
		template.NotAfter = end
	}
	if x.NotBefore.After(template.NotBefore) {
		template.NotBefore = x.NotBefore
	}
	// Not as a CA by Go's fields: then it would write a key identifier of its own,
	// and one that differs from the root's breaks the path (istio-facts M). Every
	// extension but the authority key identifier is copied instead.
	for _, e := range x.Extensions {
		if e.Id.String() != "2.5.29.35" {
			template.ExtraExtensions = append(template.ExtraExtensions, e)
		}
	}
	return sign(template, a.Cert.X509, x.PublicKey, a.Key)
}

// LeafRequest asks for a workload's certificate such as istiod issues.
type LeafRequest struct {
	SPIFFE   string
	DNSNames []string
	Public   crypto.PublicKey
	Now      time.Time
	Lifetime time.Duration
}

// IssueLeaf signs a leaf the way istiod does (istio 1.30.3
// security/pkg/pki/util/generate_cert.go:285): no subject, the SPIFFE ID as a
// critical SAN, dated back two minutes, for clients and servers.
func (a *Authority) IssueLeaf(r LeafRequest) (*Certificate, error) {
	if !a.KeyMatches() {
		return nil, errors.New("issuing a leaf: the key is not that of the CA's certificate")
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: r.Now.Add(-2 * time.Minute).UTC(), NotAfter: r.Now.Add(r.Lifetime).UTC(), DNSNames: r.DNSNames,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if r.SPIFFE != "" {
		id, err := url.Parse(r.SPIFFE)
		if err != nil {
			return nil, fmt.Errorf("issuing a leaf: %w", err)
		}
		template.URIs = []*url.URL{id}
	}
	return sign(template, a.Cert.X509, r.Public, a.Key)
}
