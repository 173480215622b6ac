package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha1" // SHA-1 is what Envoy still takes
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// scheme is a signature algorithm: of rsa (PKCS #1), pss, ecdsa and ed25519.
type scheme struct {
	family string
	hash   crypto.Hash
}

// schemeOf reads an AlgorithmIdentifier; false for those not judged here.
func schemeOf(algorithm []byte, x *x509.Certificate) (scheme, bool) {
	in := cryptobyte.String(algorithm)
	var body cryptobyte.String
	var id asn1.ObjectIdentifier
	if !in.ReadASN1(&body, cbasn1.SEQUENCE) || !body.ReadASN1ObjectIdentifier(&id) {
		return scheme{}, false
	}
	plain := body.Empty() || bytes.Equal(body, []byte{5, 0}) // BoringSSL takes both for RSA and ECDSA
	s, ok := map[string]scheme{
		"1.2.840.113549.1.1.5":  {"rsa", crypto.SHA1},
		"1.2.840.113549.1.1.11": {"rsa", crypto.SHA256},
		"1.2.840.113549.1.1.12": {"rsa", crypto.SHA384},
		"1.2.840.113549.1.1.13": {"rsa", crypto.SHA512},
		"1.2.840.10045.4.1":     {"ecdsa", crypto.SHA1},
		"1.2.840.10045.4.3.2":   {"ecdsa", crypto.SHA256},
		"1.2.840.10045.4.3.3":   {"ecdsa", crypto.SHA384},
		"1.2.840.10045.4.3.4":   {"ecdsa", crypto.SHA512},
	}[id.String()]
	switch {
	case ok:
		return s, plain
	case id.String() == "1.3.101.112":
		return scheme{family: "ed25519"}, body.Empty()
	case x == nil:
		return scheme{}, false
	}
	switch x.SignatureAlgorithm { // Go reads the parameters of RSA-PSS, which BoringSSL takes in the same three forms
	case x509.SHA256WithRSAPSS:
		return scheme{"pss", crypto.SHA256}, true
	case x509.SHA384WithRSAPSS:
		return scheme{"pss", crypto.SHA384}, true
	case x509.SHA512WithRSAPSS:
		return scheme{"pss", crypto.SHA512}, true
	}
	return scheme{}, false
}

// signatureHolds verifies c's signature with the issuer's key. SHA-1, which Go
// refuses, Envoy takes.
func signatureHolds(c, issuer *Certificate) (Answer, bool) {
	return readFields(c).signedBy(readFields(issuer))
}

func (f *fields) signedBy(issuer *fields) (Answer, bool) {
	if f.memo == nil {
		return f.checkSignedBy(issuer)
	}
	pair := [2]Fingerprint{f.Fingerprint(), issuer.Fingerprint()}
	known, ok := f.memo.signed[pair]
	if !ok {
		known.answer, known.holds = f.checkSignedBy(issuer)
		f.memo.signed[pair] = known
	}
	return known.answer, known.holds
}

func (f *fields) checkSignedBy(issuer *fields) (Answer, bool) {
	doubt, holds := f.weighSignedBy(issuer)
	if holds {
		return Answer{}, true
	}
	if doubt != nil {
		return *doubt, false
	}
	return refused("%s is not signed by the key of %s", f.Subject(), issuer.Subject()), false
}

// weighSignedBy reports whether the signature holds; doubt is what else is to be
// said where it does not.
func (f *fields) weighSignedBy(issuer *fields) (doubt *Answer, holds bool) {
	say := func(a Answer) (*Answer, bool) { return &a, false }
	if !bytes.Equal(f.algorithm, f.inner) {
		return say(refused("%s names two signature algorithms", f.Subject()))
	}
	s, ok := schemeOf(f.algorithm, f.X509)
	if !ok {
		return say(depends("%s is signed by an algorithm that is not judged here", f.Subject()))
	}
	var digest []byte
	if s.hash != 0 {
		h := s.hash.New()
		h.Write(f.tbs)
		digest = h.Sum(nil)
	}
	switch key := issuer.key().(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < 1024 || n > 8192 {
			return say(depends("%s has an RSA key of %d bits, which is not judged here", issuer.Subject(), n))
		}
		switch s.family {
		case "rsa":
			return nil, rsa.VerifyPKCS1v15(key, s.hash, digest, f.signature) == nil
		case "pss":
			return nil, rsa.VerifyPSS(key, s.hash, digest, f.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
	case *ecdsa.PublicKey:
		if key.Params().BitSize < 256 {
			return say(depends("%s has a key on %s, which is not judged here", issuer.Subject(), key.Params().Name))
		}
		return nil, s.family == "ecdsa" && ecdsa.VerifyASN1(key, digest, f.signature)
	case ed25519.PublicKey:
		return nil, s.family == "ed25519" && ed25519.Verify(key, f.tbs, f.signature)
	default:
		return say(depends("the key of %s cannot be read here", issuer.Subject()))
	}
	return nil, false
}
