package pki

import (
	"crypto"
	"errors"
	"fmt"
	"time"
)

// ErrNotOfKey is returned where a key is that of no certificate there is.
var ErrNotOfKey = errors.New("it is the key of none of the certificates")

// Generation picks the certificate that a key signs with: a root that was certified
// anew has several of one key, and of those that are CAs and valid already the one that
// ends last vouches the longest.
func Generation(certs []*Certificate, key crypto.Signer, now time.Time) (*Certificate, error) {
	err := ErrNotOfKey
	var latest *Certificate
	for _, c := range certs {
		if c.X509 == nil || !SameKey(c.X509.PublicKey, key.Public()) {
			continue
		}
		switch x := c.X509; {
		case !x.BasicConstraintsValid || !x.IsCA:
			err = fmt.Errorf("%s is no CA", c.Subject())
		case now.Before(x.NotBefore):
			err = fmt.Errorf("%s is not valid before %s", c.Subject(), stamp(x.NotBefore))
		case latest == nil || x.NotAfter.After(latest.X509.NotAfter):
			latest = c
		}
	}
	if latest == nil {
		return nil, err
	}
	return latest, nil
}
