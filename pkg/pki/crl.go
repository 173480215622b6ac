package pki

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// CRLs are the lists of revoked certificates that a judge has beside its roots. Envoy
// asks for one of every issuer of a path as soon as it has a text of them, be there a list
// in it or not (envoy source/common/tls/cert_validator/default_validator.cc,
// initializeSslContexts: CRL_CHECK and CRL_CHECK_ALL).
type CRLs struct {
	// Raw is the text, nil where it is not known.
	Raw []byte

	fingerprint Fingerprint
	lists       []*crl
	unknown     error
}

// ParseCRLs reads a text of lists; nil is for an empty one, which is none at all. What
// cannot be read of it is kept in mind: nothing is concluded from the rest.
func ParseCRLs(raw []byte) *CRLs {
	if len(raw) == 0 {
		return nil
	}
	c := &CRLs{Raw: raw, fingerprint: fingerprintOf(raw)}
	for rest := raw; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue // BoringSSL passes over it (crypto/pem/pem_info.cc)
		}
		list, err := readCRL(block.Bytes)
		if err != nil {
			c.unknown = err
			continue
		}
		c.lists = append(c.lists, list)
	}
	return c
}

// UnknownCRLs are in force, and nothing more is known of them.
func UnknownCRLs(why string) *CRLs {
	return &CRLs{fingerprint: fingerprintOf([]byte(why)), unknown: errors.New(why)}
}

// Fingerprint is the SHA-256 of the text.
func (c *CRLs) Fingerprint() Fingerprint {
	if c == nil {
		return Fingerprint{}
	}
	return c.fingerprint
}

// MarshalText writes the fingerprint: the text stands once, and for many.
func (c *CRLs) MarshalText() ([]byte, error) { return c.fingerprint.MarshalText() }

// UnmarshalText reads it: lists that are in force, and of which nothing is known.
func (c *CRLs) UnmarshalText(text []byte) error {
	c.unknown = errors.New("its text was not kept")
	return c.fingerprint.UnmarshalText(text)
}

// Unknown says why they cannot be judged, nil where they can.
func (c *CRLs) Unknown() error { return c.unknown }

// CRL is what is told of one list.
type CRL struct {
	Issuer     string
	ThisUpdate time.Time
	// NextUpdate is when it ends, zero where it does not.
	NextUpdate time.Time
	Revoked    int
}

// Lists are those of them that could be read, in their order.
func (c *CRLs) Lists() (all []CRL) {
	for _, l := range c.lists {
		all = append(all, CRL{Issuer: l.x509.Issuer.String(), ThisUpdate: l.x509.ThisUpdate, NextUpdate: l.x509.NextUpdate, Revoked: len(l.x509.RevokedCertificateEntries)})
	}
	return all
}

// crl is one list as the judge sees it.
type crl struct {
	x509     *x509.RevocationList
	issuerAs string // canonical
	aki      authority
	// odd says why it cannot be judged here.
	odd     error
	revoked map[string]bool // by serial number; false for one that is revoked no more
	signed  sync.Map        // Fingerprint of an issuer -> error
}

// Extensions of a list under id-ce, by their last number.
const (
	extCRLNumber, extReason, extDelta, extDistribution = 20, 21, 27, 28
	// reasonRemoved takes an entry back; only a delta may have it (RFC 5280 5.3.1).
	reasonRemoved = 8
)

func readCRL(der []byte) (*crl, error) {
	list, err := x509.ParseRevocationList(der) // as istiod does, which loads no other (istio 1.30.3 security/pkg/pki/util/keycertbundle.go:396)
	if err != nil {
		return nil, err
	}
	c := &crl{x509: list, revoked: map[string]bool{}}
	if c.issuerAs, err = canonicalName(list.RawIssuer); err != nil {
		return nil, err
	}
	for _, e := range list.Extensions {
		switch {
		case standard(e.Id) == extAKI:
			var f fields
			if !f.readAuthority(e.Value) {
				c.odd = errors.New("its authority key identifier has an unusual form")
			}
			c.aki = f.aki
		case e.Critical, standard(e.Id) == extDelta, standard(e.Id) == extDistribution:
			c.odd = errors.New("it has the extension " + e.Id.String())
		}
	}
	if !plainTimes(list.RawTBSRevocationList) {
		c.odd = errTime
	}
	for _, entry := range list.RevokedCertificateEntries {
		c.revoked[serialOf(entry.SerialNumber)] = entry.ReasonCode != reasonRemoved
		for _, e := range entry.Extensions {
			if e.Critical {
				c.odd = errors.New("an entry of it has the critical extension " + e.Id.String())
			}
		}
	}
	return c, nil
}

// plainTimes reports whether its dates have the forms that all read alike.
func plainTimes(tbs cryptobyte.String) bool {
	var body cryptobyte.String
	var at time.Time
	return tbs.ReadASN1(&body, cbasn1.SEQUENCE) && body.SkipOptionalASN1(cbasn1.INTEGER) && body.SkipASN1(cbasn1.SEQUENCE) && body.SkipASN1(cbasn1.SEQUENCE) && readTime(&body, &at) &&
		(!body.PeekASN1Tag(cbasn1.UTCTime) && !body.PeekASN1Tag(cbasn1.GeneralizedTime) || readTime(&body, &at))
}

func serialOf(n *big.Int) string { return n.Text(16) }

// signedBy is nil where the issuer's key has signed it.
func (c *crl) signedBy(issuer *fields) error {
	key := issuer.Fingerprint()
	if known, ok := c.signed.Load(key); ok {
		err, _ := known.(error)
		return err
	}
	err := issuer.X509.CheckSignature(c.x509.SignatureAlgorithm, c.x509.RawTBSRevocationList, c.x509.Signature)
	if err != nil {
		c.signed.Store(key, err)
	} else {
		c.signed.Store(key, true)
	}
	return err
}
