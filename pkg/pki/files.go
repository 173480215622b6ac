package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// File is one file as the user gave it; its name is only for messages.
type File struct {
	Name string
	Data []byte `json:"-"`
	// Mode has the permissions of a file of this machine, 0 where they are not known: a
	// pipe's, or of a system that has others.
	Mode fs.FileMode
}

// Exposed reports whether others than its owner may read it.
func (f File) Exposed() bool { return f.Mode.Perm()&0o077 != 0 }

// Format prints the name and never the content: it may be a private key.
func (f File) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "file(%q, %d bytes)", f.Name, len(f.Data))
}

// Names of a CA's files in an Opaque CA Secret (istio 1.30.3
// security/pkg/pki/ca/ca.go:39).
const (
	RootFile  = "root-cert.pem"
	CertFile  = "ca-cert.pem"
	KeyFile   = "ca-key.pem"
	ChainFile = "cert-chain.pem"
	// CRLFile is beside them where certificates are revoked (CACRLFile).
	CRLFile = "ca-crl.pem"
)

// Files are the four files of a CA, by the names of a cacerts Secret. Chain may be
// empty.
type Files struct{ Root, CACert, CAKey, Chain File }

// All are the four files, the key among them.
func (f Files) All() []File { return []File{f.Root, f.CACert, f.CAKey, f.Chain} }

// Files lays the CA out as the files of an Opaque CA Secret, its key among them.
// The chain begins with the certificate that signs: istiod sends it as it stands
// behind every leaf (istio 1.30.3 security/pkg/pki/ca/ca.go:530), and its metrics
// show the first.
func (a *Authority) Files() (Files, error) {
	if a.Cert == nil {
		return Files{}, errors.New("the CA has no certificate")
	}
	key, err := a.KeyPEM()
	if err != nil {
		return Files{}, fmt.Errorf("the key of %s: %w", a.Cert.Subject(), err)
	}
	return Files{
		Root:   File{Name: RootFile, Data: a.Roots.Raw},
		CACert: File{Name: CertFile, Data: a.Cert.PEM()},
		CAKey:  File{Name: KeyFile, Data: key},
		Chain:  File{Name: ChainFile, Data: NewBundle(append([]*Certificate{a.Cert}, a.Chain...)...).Raw},
	}, nil
}

// ParseFiles reads a CA. The first certificate of CACert signs; what follows it
// there counts as the chain's beginning. From the chain, self-signed roots and the
// signing certificate itself are left out: peers are to find the roots in their
// bundles, not in what is presented.
func ParseFiles(f Files) (*Authority, error) {
	a, err := ParsePublic(f)
	if err != nil {
		return nil, err
	}
	if a.Key, err = ParseKey(f.CAKey.Data); err != nil {
		return nil, fmt.Errorf("%s: %w", f.CAKey.Name, err)
	}
	if !a.KeyMatches() {
		return nil, fmt.Errorf("%s: %w (%s)", f.CAKey.Name, ErrWrongKey, f.CACert.Name)
	}
	return a, nil
}

// ParsePublic is ParseFiles without the key, which it does not look at.
func ParsePublic(f Files) (*Authority, error) {
	roots, err := f.Root.bundle()
	if err != nil {
		return nil, err
	}
	cert, err := f.CACert.bundle()
	if err != nil {
		return nil, err
	}
	behind := slices.Clone(cert.Certs[1:])
	if len(f.Chain.Data) > 0 {
		chain, err := f.Chain.bundle()
		if err != nil {
			return nil, err
		}
		behind = append(behind, chain.Certs...)
	}
	return NewAuthority(cert.Certs[0], behind, roots), nil
}

// NewAuthority is a CA without its key: the certificate that signs, what is
// presented behind it, and the bundle. From what is presented the certificate
// itself, doubles and self-signed roots are left out.
func NewAuthority(cert *Certificate, behind []*Certificate, roots Bundle) *Authority {
	a := &Authority{Cert: cert, Roots: Bundle{Raw: roots.Raw, Certs: slices.Clone(roots.Certs)}}
	seen := NewSet(cert)
	for _, c := range behind {
		if seen.Has(c) || c.X509 != nil && selfSigned(c) {
			continue
		}
		seen[c.Fingerprint()] = c
		a.Chain = append(a.Chain, c)
	}
	if cert.X509 != nil && !slices.ContainsFunc(append(slices.Clone(a.Chain), a.Roots.Certs...), func(c *Certificate) bool { return c.X509 == nil }) {
		a.orderRoots()
	}
	return a
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

// orderRoots puts the root that the CA hangs from first in Roots.Certs, whatever
// the order of the chain; the bytes stay as they are.
func (a *Authority) orderRoots() {
	left := slices.Clone(a.Chain)
	for current := a.Cert; ; {
		i := slices.IndexFunc(a.Roots.Certs, func(c *Certificate) bool { return c.Equal(current) || mayIssue(c, current) && issued(c, current) })
		if i >= 0 {
			root := a.Roots.Certs[i]
			certs := append([]*Certificate{root}, a.Roots.Certs[:i]...)
			a.Roots.Certs = append(certs, a.Roots.Certs[i+1:]...)
			return
		}
		next := slices.IndexFunc(left, func(c *Certificate) bool { return mayIssue(c, current) && issued(c, current) })
		if next < 0 {
			return
		}
		current = left[next]
		left = slices.Delete(left, next, next+1)
	}
}

func issued(issuer, c *Certificate) bool {
	_, ok := signatureHolds(c, issuer)
	return ok
}
