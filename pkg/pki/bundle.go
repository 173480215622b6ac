package pki

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
)

// Bundle is a PEM file as it stands: the exact bytes, because istiod before
// 1.30 compares root bundles as bytes (istio 1.20.0
// pilot/pkg/bootstrap/istio_ca.go:329), and the certificates in them, because
// everybody else compares certificates.
type Bundle struct {
	Raw   []byte
	Certs []*Certificate
}

// ErrEmptyBundle is returned for a bundle without a single certificate: nothing
// may ever be concluded from one.
var ErrEmptyBundle = errors.New("no certificate in it")

// ParseBundle reads all CERTIFICATE blocks of raw, in order and with duplicates.
// Blocks of another type, and anything but white space and comments between the
// blocks that hides a certificate (a glued or cut block), are errors; a
// certificate that Go cannot parse is not.
func ParseBundle(raw []byte) (Bundle, error) {
	certs, err := parsePEM(raw, NewCertificate)
	if err != nil {
		return Bundle{}, err
	}
	return Bundle{Raw: bytes.Clone(raw), Certs: certs}, nil
}

// parsePEM is ParseBundle, of whatever makes a certificate of DER.
func parsePEM(raw []byte, parse func(der []byte) *Certificate) ([]*Certificate, error) {
	var certs []*Certificate
	for rest := raw; ; {
		block, next := pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d is a %q, not a CERTIFICATE", len(certs)+1, block.Type)
		}
		certs = append(certs, parse(block.Bytes))
		rest = next
	}
	if begins := bytes.Count(raw, []byte("-----BEGIN")); begins != len(certs) {
		return nil, fmt.Errorf("%d PEM blocks begin, %d are whole: a block is cut, or two are glued together without a newline", begins, len(certs))
	}
	if len(certs) == 0 {
		return nil, ErrEmptyBundle
	}
	return certs, nil
}

// NewBundle lays certificates out as plain PEM, one block after another.
func NewBundle(certs ...*Certificate) Bundle {
	b := Bundle{Certs: certs}
	for _, c := range certs {
		b.Raw = append(b.Raw, c.PEM()...)
	}
	return b
}

// Set is the bundle's certificates without order and duplicates.
func (b Bundle) Set() Set { return NewSet(b.Certs...) }

// SameBytes reports whether both bundles are the same file.
func (b Bundle) SameBytes(o Bundle) bool { return bytes.Equal(b.Raw, o.Raw) }

// Set is a set of certificates by DER.
type Set map[Fingerprint]*Certificate

// NewSet makes a set of the certificates given.
func NewSet(certs ...*Certificate) Set {
	s := make(Set, len(certs))
	for _, c := range certs {
		s[c.Fingerprint()] = c
	}
	return s
}

// Has reports whether the set holds the certificate.
func (s Set) Has(c *Certificate) bool { _, ok := s[c.Fingerprint()]; return ok }

// Contains reports whether every certificate of o is in s.
func (s Set) Contains(o Set) bool {
	for f := range o {
		if _, ok := s[f]; !ok {
			return false
		}
	}
	return true
}

// Equal reports whether both hold the same certificates.
func (s Set) Equal(o Set) bool { return len(s) == len(o) && s.Contains(o) }
