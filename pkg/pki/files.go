package pki

import (
	"errors"
	"fmt"
)

// File is one file as the user gave it; its name is only for messages.
type File struct {
	Name string
	Data []byte
}

// Files are the four files of a CA, by the names of a cacerts Secret: root-cert.pem,
// ca-cert.pem, ca-key.pem, cert-chain.pem. Chain may be empty.
type Files struct{ Root, CACert, CAKey, Chain File }

// ParseFiles reads a CA. The first certificate of CACert signs. From Chain,
// self-signed roots and the signing certificate itself are left out: peers are to
// find the roots in their bundles, not in what is presented.
func ParseFiles(f Files) (*Authority, error) {
	roots, err := f.Root.bundle()
	if err != nil {
		return nil, err
	}
	cert, err := f.CACert.bundle()
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(f.CAKey.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.CAKey.Name, err)
	}
	a := &Authority{Cert: cert.Certs[0], Key: key, Roots: roots}
	behind := cert.Certs[1:]
	if len(f.Chain.Data) > 0 {
		chain, err := f.Chain.bundle()
		if err != nil {
			return nil, err
		}
		behind = append(behind, chain.Certs...)
	}
	seen := NewSet(a.Cert)
	for _, c := range behind {
		if seen.Has(c) || c.X509 != nil && selfSigned(c) {
			continue
		}
		seen[c.Fingerprint()] = c
		a.Chain = append(a.Chain, c)
	}
	a.orderRoots()
	if !a.KeyMatches() {
		return nil, fmt.Errorf("%s: %w (%s)", f.CAKey.Name, ErrWrongKey, f.CACert.Name)
	}
	return a, nil
}

// ErrWrongKey is returned where key and certificate do not belong together.
var ErrWrongKey = errors.New("the key is not that of the certificate")

func (f File) bundle() (Bundle, error) {
	b, err := ParseBundle(f.Data)
	if err != nil {
		return b, fmt.Errorf("%s: %w", f.Name, err)
	}
	for _, c := range b.Certs {
		if c.X509 == nil {
			return b, fmt.Errorf("%s: %w", f.Name, c.Err)
		}
	}
	return b, nil
}

// orderRoots puts the root that the CA hangs from first in Roots.Certs; the bytes
// stay as they are.
func (a *Authority) orderRoots() {
	for i, c := range a.Roots.Certs {
		last := a.Cert
		if len(a.Chain) > 0 {
			last = a.Chain[len(a.Chain)-1]
		}
		if c.Equal(last) || mayIssue(c, last) && issued(c, last) {
			certs := append([]*Certificate{c}, a.Roots.Certs[:i]...)
			a.Roots.Certs = append(certs, a.Roots.Certs[i+1:]...)
			return
		}
	}
}

func issued(issuer, c *Certificate) bool {
	_, ok := signatureHolds(c, issuer)
	return ok
}
