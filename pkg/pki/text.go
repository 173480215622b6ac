package pki

import (
	"bytes"
	"errors"
)

// MarshalText refers to a certificate by its fingerprint: a document that holds
// certificates keeps them in a table of its own.
func (c *Certificate) MarshalText() ([]byte, error) { return c.fingerprint.MarshalText() }

// UnmarshalText reads a reference. The certificate has no DER until the reader of
// the document has looked it up in its table.
func (c *Certificate) UnmarshalText(text []byte) error {
	*c = Certificate{Err: errors.New("not looked up yet")}
	return c.fingerprint.UnmarshalText(text)
}

// MarshalText writes the bundle's exact bytes, which are text.
func (b Bundle) MarshalText() ([]byte, error) { return b.Raw, nil }

// UnmarshalText reads a bundle; an empty one stays empty.
func (b *Bundle) UnmarshalText(text []byte) error {
	if len(bytes.TrimSpace(text)) == 0 {
		*b = Bundle{}
		return nil
	}
	parsed, err := ParseBundle(text)
	if err != nil {
		return err
	}
	*b = parsed
	return nil
}

// IsZero reports whether there is no bundle at all.
func (b Bundle) IsZero() bool { return len(b.Raw) == 0 && len(b.Certs) == 0 }
