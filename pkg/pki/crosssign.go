package pki

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrOneName is returned where a root is to vouch for another of its own name.
var ErrOneName = errors.New("peers could not tell them apart")

// ErrEnded is returned where the root that is to vouch has ended.
var ErrEnded = errors.New("expired")

// CrossSign certifies another root under this CA: name, key, key identifier and
// constraints are the other root's own, bit for bit, so that whoever trusts this
// CA finds a way to it, and whoever trusts the other root stops there. It ends
// with the first of the two.
//
// It refuses what is no self-signed CA, what has expired, a CA that may have none
// below it, and roots of one name. A path length of 1 is not refused: the other
// root may then sign leaves, and no intermediate (see LintPair).
func (a *Authority) CrossSign(root *Certificate, now time.Time) (*Certificate, error) {
	if err := a.mayCrossSign(root, now); err != nil {
		return nil, fmt.Errorf("cross-signing: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	x, by := root.X509, a.Cert.X509
	template := &x509.Certificate{
		SerialNumber: serial, RawSubject: x.RawSubject, Subject: x.Subject, NotBefore: now.Add(-Backdating).UTC(), NotAfter: earlier(x.NotAfter, by.NotAfter),
	}
	for _, start := range []time.Time{x.NotBefore, by.NotBefore} {
		if start.After(template.NotBefore) {
			template.NotBefore = start
		}
	}
	// Not as a CA by Go's fields: then it would write a key identifier of its own,
	// and one that differs from the root's breaks the path. Every
	// extension but the authority key identifier is copied instead.
	template.ExtraExtensions = ownExtensions(x)
	cross, err := sign(template, by, x.PublicKey, a.Key)
	if err != nil {
		return nil, err
	}
	if y := cross.X509; !bytes.Equal(y.RawSubject, x.RawSubject) || !bytes.Equal(y.RawSubjectPublicKeyInfo, x.RawSubjectPublicKeyInfo) || !bytes.Equal(y.SubjectKeyId, x.SubjectKeyId) {
		return nil, fmt.Errorf("cross-signing %s: its name, key or key identifier cannot be copied bit for bit", root.Subject())
	}
	return cross, nil
}

// ownExtensions are all but the authority key identifier, which tells of the issuer.
func ownExtensions(x *x509.Certificate) []pkix.Extension {
	return slices.DeleteFunc(slices.Clone(x.Extensions), func(e pkix.Extension) bool { return e.Id.String() == "2.5.29.35" })
}

func (a *Authority) mayCrossSign(root *Certificate, now time.Time) error {
	if root == nil {
		return errors.New("there is no root to certify")
	}
	if root.X509 == nil {
		return fmt.Errorf("%s: %w", root.Subject(), root.Err)
	}
	if err := a.maySignCA(); err != nil {
		return err
	}
	switch x := root.X509; {
	case now.IsZero():
		return errors.New("it is not said when")
	case !selfSigned(root) || !issued(root, root):
		return fmt.Errorf("%s is no self-signed root", root.Subject())
	case !x.BasicConstraintsValid || !x.IsCA:
		return fmt.Errorf("%s is no CA", root.Subject())
	case sameName(a.Cert.X509.RawSubject, x.RawSubject):
		return fmt.Errorf("both roots are called %s: %w", root.Subject(), ErrOneName)
	case !now.Before(x.NotAfter):
		return fmt.Errorf("%s expired at %s", root.Subject(), x.NotAfter.UTC().Format(time.RFC3339))
	case !now.Before(a.Cert.X509.NotAfter):
		return fmt.Errorf("%s %w at %s", a.Cert.Subject(), ErrEnded, a.Cert.X509.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}
