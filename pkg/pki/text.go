package pki

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"unicode/utf8"
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

// encoded marks bytes that are no UTF-8 text: a comment between two certificates
// may be in any encoding, and JSON would replace it.
const encoded = "base64:"

// MarshalText writes the bundle's exact bytes, which are text, or their base64
// where they are not.
func (b Bundle) MarshalText() ([]byte, error) {
	if !utf8.Valid(b.Raw) {
		return base64.StdEncoding.AppendEncode([]byte(encoded), b.Raw), nil
	}
	return b.Raw, nil
}

// UnmarshalText reads a bundle; an empty one stays empty.
func (b *Bundle) UnmarshalText(text []byte) error {
	if len(bytes.TrimSpace(text)) == 0 {
		*b = Bundle{}
		return nil
	}
	if rest, ok := bytes.CutPrefix(text, []byte(encoded)); ok {
		raw, err := base64.StdEncoding.AppendDecode(nil, rest)
		if err != nil {
			return fmt.Errorf("a bundle in base64: %w", err)
		}
		text = raw
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
