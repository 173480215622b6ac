package pki

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

type (
	extension = pkix.Extension
	oid       = asn1.ObjectIdentifier
)

// sameName compares distinguished names as BoringSSL does: by their canonical
// form, in which string type, letter case and runs of spaces do not matter. A
// name that has no such form equals only itself.
func sameName(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	one, err := canonicalName(a)
	if err != nil {
		return false
	}
	other, err := canonicalName(b)
	return err == nil && one == other
}

// numericString is the one type of string that Go reads in a name and BoringSSL does not
// fold.
const numericString cbasn1.Tag = 18

var errName = errors.New("a name that cannot be compared")

// canonicalName is the canonical form of a distinguished name's DER (boringssl
// crypto/x509/x_name.cc): strings as UTF-8, ASCII letters small, spaces trimmed
// and folded. Digits of a NumericString, as tax offices have them in names, stay as they
// are, type and all. An error is for what BoringSSL may not load.
func canonicalName(der []byte) (string, error) {
	in := cryptobyte.String(der)
	var sets cryptobyte.String
	if !in.ReadASN1(&sets, cbasn1.SEQUENCE) || !in.Empty() {
		return "", errName
	}
	out := cryptobyte.NewBuilder(make([]byte, 0, len(der)+8))
	for !sets.Empty() {
		var set cryptobyte.String
		if !sets.ReadASN1(&set, cbasn1.SET) || set.Empty() {
			return "", errName
		}
		var members [][]byte
		for !set.Empty() {
			var pair, value cryptobyte.String
			var id []byte
			var tag cbasn1.Tag
			if !set.ReadASN1(&pair, cbasn1.SEQUENCE) || !pair.ReadASN1Bytes(&id, cbasn1.OBJECT_IDENTIFIER) ||
				!pair.ReadAnyASN1(&value, &tag) || !pair.Empty() {
				return "", errName
			}
			as, folded := tag, []byte(value)
			if tag != numericString {
				var ok bool
				if folded, ok = foldString(tag, value); !ok {
					return "", errName
				}
				as = cbasn1.UTF8String
			}
			var member cryptobyte.Builder
			member.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(id) })
				b.AddASN1(as, func(b *cryptobyte.Builder) { b.AddBytes(folded) })
			})
			members = append(members, member.BytesOrPanic())
		}
		slices.SortFunc(members, bytes.Compare)
		out.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
			for _, m := range members {
				b.AddBytes(m)
			}
		})
	}
	return string(out.BytesOrPanic()), nil
}

// foldString is a string of any type in its canonical form; false for other
// types and for what is not of the type it claims.
func foldString(tag cbasn1.Tag, raw []byte) ([]byte, bool) {
	out := make([]byte, 0, len(raw))
	space := false
	for len(raw) > 0 {
		var r rune
		size := 1
		switch tag {
		case cbasn1.UTF8String:
			if r, size = utf8.DecodeRune(raw); r == utf8.RuneError && size <= 1 {
				return nil, false
			}
		case cbasn1.PrintableString, cbasn1.IA5String, cbasn1.T61String, 26: // 26: VisibleString; all read as Latin-1
			r = rune(raw[0])
		case 30: // BMPString
			if size = 2; len(raw) >= 2 {
				r = rune(raw[0])<<8 | rune(raw[1])
			}
		case 28: // UniversalString
			if size = 4; len(raw) >= 4 {
				r = rune(raw[0])<<24 | rune(raw[1])<<16 | rune(raw[2])<<8 | rune(raw[3])
			}
		default:
			return nil, false
		}
		if size > len(raw) || !utf8.ValidRune(r) || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe {
			return nil, false
		}
		raw = raw[size:]
		if r == ' ' || r >= '\t' && r <= '\r' {
			space = len(out) > 0
			continue
		}
		if space {
			out, space = append(out, ' '), false
		}
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		out = utf8.AppendRune(out, r)
	}
	return out, true
}

// authorityKeyID reads the AKI whole: Go keeps the key id alone.
func authorityKeyID(x *x509.Certificate) authority {
	var f fields
	for _, e := range x.Extensions {
		if e.Id.Equal(idCE(extAKI)) && !f.readAuthority(e.Value) {
			return authority{keyID: x.AuthorityKeyId, hasKeyID: len(x.AuthorityKeyId) > 0}
		}
	}
	return f.aki
}

// signed reads an INTEGER's contents: two's complement.
func signed(raw []byte) *big.Int {
	n := new(big.Int).SetBytes(raw)
	if len(raw) > 0 && raw[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
	}
	return n
}
