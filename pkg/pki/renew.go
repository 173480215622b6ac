package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// RenewRoot certifies a self-signed root anew with the key that it has: name, key,
// key identifier and every extension are the old certificate's, bit for bit; serial
// number, dates and signature are new. Whoever trusts either then accepts what was
// issued under the other, in any order.
//
// Of all this the key identifier is what goes wrong by hand: openssl derives it by
// SHA-1, Go since 1.25 by SHA-256 (crypto/x509, x509sha256skid), and a peer that
// trusts one of two certificates with other identifiers refuses what names the
// other (boringssl crypto/x509/v3_purp.cc, X509_check_akid). Where the old root has
// none, the new one gets none.
//
// An authority key identifier that names issuer and serial number is reduced to its
// key id: it would name the old certificate.
//
// lifetime counts from now; 0 is RootLifetime. An old root that has expired is
// renewed too. The result signs with the same key, and its bundle is itself.
func (a *Authority) RenewRoot(now time.Time, lifetime time.Duration) (*Authority, error) {
	if err := a.mayRenew(now, lifetime); err != nil {
		return nil, fmt.Errorf("renewing a root: %w", err)
	}
	if lifetime == 0 {
		lifetime = RootLifetime
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	x := a.Cert.X509
	// Not as a CA by Go's fields, as in CrossSign: a key identifier would be made up.
	template := &x509.Certificate{
		SerialNumber: serial, RawSubject: x.RawSubject, Subject: x.Subject, NotBefore: now.Add(-Backdating).UTC(), NotAfter: now.Add(lifetime).UTC(),
		AuthorityKeyId: x.AuthorityKeyId,
	}
	template.ExtraExtensions = ownExtensions(x)
	cert, err := sign(template, template, x.PublicKey, a.Key)
	if err != nil {
		return nil, err
	}
	if y := cert.X509; !bytes.Equal(y.RawSubject, x.RawSubject) || !bytes.Equal(y.RawIssuer, x.RawSubject) ||
		!bytes.Equal(y.RawSubjectPublicKeyInfo, x.RawSubjectPublicKeyInfo) || !bytes.Equal(y.SubjectKeyId, x.SubjectKeyId) {
		return nil, fmt.Errorf("renewing %s: its name, key or key identifier cannot be copied bit for bit", a.Cert.Subject())
	}
	return &Authority{Cert: cert, Key: a.Key, Roots: NewBundle(cert)}, nil
}

func (a *Authority) mayRenew(now time.Time, lifetime time.Duration) error {
	if err := a.maySign(); err != nil {
		return err
	}
	switch {
	case now.IsZero():
		return errors.New("it is not said when")
	case lifetime < 0:
		return fmt.Errorf("the lifetime %s is negative", lifetime)
	case !selfSigned(a.Cert) || !issued(a.Cert, a.Cert):
		return fmt.Errorf("%s is no self-signed root: whoever signed it must sign it again", a.Cert.Subject())
	}
	return nil
}
