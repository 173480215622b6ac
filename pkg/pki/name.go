package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"unicode/utf16"
)

type (
	extension = pkix.Extension
	oid       = asn1.ObjectIdentifier
)

// sameName compares distinguished names as BoringSSL does: by their canonical
// form, in which string type, letter case and runs of spaces do not matter.
func sameName(a, b []byte) bool {
	return bytes.Equal(a, b) || bytes.Equal(canonical(a), canonical(b))
}

// canonical is X509_NAME's canonical encoding in spirit: what cannot be parsed
// stays as it is, so that it equals only itself.
func canonical(raw []byte) []byte {
	type attribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	var sequence []asn1.RawValue
	if rest, err := asn1.Unmarshal(raw, &sequence); err != nil || len(rest) > 0 {
		return raw
	}
	var out bytes.Buffer
	for _, set := range sequence {
		var attributes []string
		for rest := set.Bytes; len(rest) > 0; {
			var a attribute
			var err error
			if rest, err = asn1.Unmarshal(rest, &a); err != nil {
				return raw
			}
			attributes = append(attributes, a.Type.String()+"="+text(a.Value))
		}
		slices.Sort(attributes)
		out.WriteString(strings.Join(attributes, "+") + "\n")
	}
	return out.Bytes()
}

// text folds a string value; others are kept with their tag.
func text(v asn1.RawValue) string {
	s := string(v.Bytes)
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, 26: // 26: VisibleString
	case asn1.TagT61String:
		runes := make([]rune, len(v.Bytes)) // taken for Latin-1
		for i, b := range v.Bytes {
			runes[i] = rune(b)
		}
		s = string(runes)
	case asn1.TagBMPString:
		if len(v.Bytes)%2 != 0 {
			return string(v.FullBytes)
		}
		units := make([]uint16, len(v.Bytes)/2)
		for i := range units {
			units[i] = uint16(v.Bytes[2*i])<<8 | uint16(v.Bytes[2*i+1])
		}
		s = string(utf16.Decode(units))
	default:
		return string(v.FullBytes)
	}
	var folded strings.Builder
	for i, word := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' }) {
		if i > 0 {
			folded.WriteByte(' ')
		}
		folded.WriteString(strings.Map(func(r rune) rune { // ASCII letters only
			if r >= 'A' && r <= 'Z' {
				return r + 'a' - 'A'
			}
			return r
		}, word))
	}
	return folded.String()
}

// authority is an authority key identifier.
type authority struct {
	keyID  []byte
	issuer []byte // the DER of a directoryName, where there is one
	serial *big.Int
}

// authorityKeyID reads the AKI whole: Go keeps the key id alone.
func authorityKeyID(x *x509.Certificate) authority {
	a := authority{keyID: x.AuthorityKeyId}
	i := slices.IndexFunc(x.Extensions, func(e extension) bool { return e.Id.String() == "2.5.29.35" })
	if i < 0 {
		return a
	}
	var sequence asn1.RawValue
	if _, err := asn1.Unmarshal(x.Extensions[i].Value, &sequence); err != nil {
		return a
	}
	for rest := sequence.Bytes; len(rest) > 0; {
		var part asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &part); err != nil {
			return a
		}
		switch part.Tag {
		case 0:
			a.keyID = part.Bytes
		case 1: // GeneralNames; the first directoryName, as BoringSSL takes it
			for names := part.Bytes; len(names) > 0; {
				var name asn1.RawValue
				if names, err = asn1.Unmarshal(names, &name); err != nil {
					break
				}
				if name.Tag == 4 && a.issuer == nil {
					a.issuer = name.Bytes
				}
			}
		case 2:
			a.serial = signed(part.Bytes)
		}
	}
	return a
}

// signed reads an INTEGER's contents: two's complement.
func signed(raw []byte) *big.Int {
	n := new(big.Int).SetBytes(raw)
	if len(raw) > 0 && raw[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
	}
	return n
}

// signatureHolds verifies c's signature with the issuer's key. SHA-1, which Go
// refuses, Envoy takes.
func signatureHolds(c, issuer *Certificate) (Answer, bool) {
	x, key := c.X509, issuer.X509.PublicKey
	bad := refused("%s is not signed by the key of %s", c.Subject(), issuer.Subject())
	switch x.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1:
		digest := sha1.Sum(x.RawTBSCertificate)
		switch key := key.(type) {
		case *rsa.PublicKey:
			return bad, x.SignatureAlgorithm == x509.SHA1WithRSA && rsa.VerifyPKCS1v15(key, crypto.SHA1, digest[:], x.Signature) == nil
		case *ecdsa.PublicKey:
			return bad, x.SignatureAlgorithm == x509.ECDSAWithSHA1 && ecdsa.VerifyASN1(key, digest[:], x.Signature)
		}
		return bad, false
	case x509.UnknownSignatureAlgorithm, x509.MD2WithRSA, x509.MD5WithRSA, x509.DSAWithSHA1, x509.DSAWithSHA256:
		return depends("%s is signed by an algorithm that is not judged here (%s)", c.Subject(), x.SignatureAlgorithm), false
	}
	if issuer.X509.CheckSignature(x.SignatureAlgorithm, x.RawTBSCertificate, x.Signature) != nil {
		return bad, false
	}
	return Answer{}, true
}
