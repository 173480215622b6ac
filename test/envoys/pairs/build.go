// Package pairs makes odd pairs of a trust bundle and a presented chain: those
// that judges of chains have been seen to differ on, and random ones. Unit tests
// hold the verifier against what real Envoys said of them; test/envoys asks the
// Envoys again.
package pairs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	_ "crypto/sha256" // SHA-256
	_ "crypto/sha512" // SHA-384 and SHA-512
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Pair is a bundle and a chain, with the key that proves the leaf.
type Pair struct {
	Name   string
	Bundle []*pki.Certificate
	Chain  []*pki.Certificate
	Key    crypto.Signer
	// SPIFFE is the identity that the judge asks for, "" for any.
	SPIFFE string
	// Domain has the bundle hold for this trust domain alone, by the SPIFFE validator.
	Domain string
	// CRLs is the text that the judge has of them, nil for none.
	CRLs []byte
}

// Cert is a certificate to be, field by field: everything that a template of
// crypto/x509 decides by itself can be set here.
type Cert struct {
	DN       string        // common name
	Raw      []byte        // the subject's DER, where it is not plain
	Key      crypto.Signer // *ecdsa.PrivateKey, *rsa.PrivateKey or ed25519.PrivateKey
	By       *Cert         // nil: itself
	From, To time.Duration
	Serial   int64
	NoSKI    bool
	SKI      []byte // instead of the key's own
	NoAKI    bool
	AKI      []byte // instead of the issuer's SKI
	// AKISerial names the issuer's issuer and this serial number in the AKI.
	AKISerial  int64
	AKIName    []byte // instead of the name of the issuer's issuer, with AKISerial
	IssuerName []byte // instead of the issuer's subject
	BC         int    // BCTrue, BCFalse, BCNone
	PathLen    int    // 0 is none, n is n-1
	KU         x509.KeyUsage
	NoKU       bool
	EKU        []asn1.ObjectIdentifier
	Extra      []pkix.Extension
	SPIFFE     string
	DNS        string
	V1         bool
	V1Extended bool // version 1 with extensions, which cannot be
	SHA1       bool
	Hash       crypto.Hash // of the signature, SHA-256 where it is 0
	PSS        bool        // of an RSA signature
	// TwoAlgorithms names another signature algorithm inside than outside.
	TwoAlgorithms bool
	LongSerial    *big.Int // instead of Serial
	EmptyKU       bool     // a key usage without any
	EmptyEKU      bool
	CriticalIDs   bool // SKI and AKI are marked critical
	ExplicitFalse bool // CA:FALSE is written down
	// Edit changes the parts of what is signed: version, serial number, algorithm, issuer,
	// validity, subject, key and extensions. Outer changes the algorithm outside, and Tail
	// stands behind the certificate.
	Edit  func(parts []asn1.RawValue) []asn1.RawValue
	Outer []byte
	Tail  []byte

	made *pki.Certificate
}

// Values of Cert.BC.
const (
	BCTrue = iota
	BCFalse
	BCNone
)

// Extended key usages.
func clientAuth() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2} }
func serverAuth() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1} }
func anyUsage() asn1.ObjectIdentifier   { return asn1.ObjectIdentifier{2, 5, 29, 37, 0} }

// Maker makes certificates at one time, from a source of randomness that decides
// shapes; keys are always new.
type Maker struct {
	Now    time.Time
	Rand   *mathrand.Rand
	serial int64
}

// Key makes a P-256 key.
func (m *Maker) Key() crypto.Signer { return m.On(elliptic.P256()) }

// On makes a key on the curve given.
func (m *Maker) On(curve elliptic.Curve) crypto.Signer {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

// Ed25519 makes such a key.
func (m *Maker) Ed25519() crypto.Signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return must(key, err)
}

// RSA gives one of three RSA keys, which take long to make and are made once: two
// of 2048 bits and one of 1024.
func RSA(n int) crypto.Signer { return rsaKeys()[n] }

var rsaKeys = sync.OnceValue(func() []crypto.Signer {
	var all []crypto.Signer
	for _, bits := range []int{2048, 2048, 1024} {
		all = append(all, must(rsa.GenerateKey(rand.Reader, bits)))
	}
	return all
})

type validity struct{ NotBefore, NotAfter time.Time }

type tbs struct {
	Version    int `asn1:"optional,explicit,default:0,tag:0"`
	Serial     *big.Int
	Algorithm  pkix.AlgorithmIdentifier
	Issuer     asn1.RawValue
	Validity   validity
	Subject    asn1.RawValue
	PublicKey  asn1.RawValue
	Extensions []pkix.Extension `asn1:"omitempty,optional,explicit,tag:3"`
}

// Make makes the certificate, and its issuers before it.
func (m *Maker) Make(c *Cert) *pki.Certificate {
	if c.made != nil {
		return c.made
	}
	if c.Key == nil {
		c.Key = m.Key()
	}
	issuer := c
	if c.By != nil {
		issuer = c.By
		m.Make(issuer)
	}
	if c.Serial == 0 {
		m.serial++
		c.Serial = 1000 + m.serial
	}
	to := c.To
	if to == 0 {
		to = 24 * time.Hour
	}
	from := c.From
	if from == 0 {
		from = -time.Hour
	}
	algorithm, sign := c.signing(issuer.Key)
	inner := algorithm
	if c.TwoAlgorithms {
		inner.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
	}
	issuerName := issuer.subject()
	if c.IssuerName != nil {
		issuerName = c.IssuerName
	}
	t := tbs{
		Version: 2, Serial: big.NewInt(c.Serial), Algorithm: inner, Issuer: asn1.RawValue{FullBytes: issuerName},
		Validity: validity{m.Now.Add(from).UTC(), m.Now.Add(to).UTC()}, Subject: asn1.RawValue{FullBytes: c.subject()},
		PublicKey: asn1.RawValue{FullBytes: must(x509.MarshalPKIXPublicKey(c.Key.Public()))},
	}
	if c.V1 || c.V1Extended {
		t.Version = 0
	}
	if !c.V1 {
		t.Extensions = c.extensions(issuer)
	}
	if c.LongSerial != nil {
		t.Serial = c.LongSerial
	}
	raw := must(asn1.Marshal(t))
	if c.Edit != nil {
		var parts []asn1.RawValue
		if _, err := asn1.Unmarshal(raw, &parts); err != nil {
			panic(err)
		}
		raw = must(asn1.Marshal(c.Edit(parts)))
	}
	signature := sign(raw)
	outside := asn1.RawValue{FullBytes: must(asn1.Marshal(algorithm))}
	if c.Outer != nil {
		outside.FullBytes = c.Outer
	}
	whole := struct {
		TBS, Algorithm asn1.RawValue
		Signature      asn1.BitString
	}{asn1.RawValue{FullBytes: raw}, outside, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}}
	c.made = pki.NewCertificate(append(must(asn1.Marshal(whole)), c.Tail...))
	return c.made
}

// signing is how the issuer's key signs c.
func (c *Cert) signing(key crypto.Signer) (pkix.AlgorithmIdentifier, func(tbs []byte) []byte) {
	hash := c.Hash
	switch {
	case c.SHA1:
		hash = crypto.SHA1
	case hash == 0:
		hash = crypto.SHA256
	}
	last := map[crypto.Hash]int{crypto.SHA256: 2, crypto.SHA384: 3, crypto.SHA512: 4}[hash]
	var id asn1.ObjectIdentifier
	var parameters asn1.RawValue
	var options crypto.SignerOpts = hash
	switch key.(type) {
	case ed25519.PrivateKey:
		return pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 101, 112}}, func(tbs []byte) []byte {
			return must(key.Sign(rand.Reader, tbs, crypto.Hash(0)))
		}
	case *rsa.PrivateKey:
		id, parameters = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 9 + last}, asn1.NullRawValue
		switch {
		case c.SHA1:
			id[6] = 5
		case c.PSS: // with SHA-256 alone
			id[6], options = 10, &rsa.PSSOptions{SaltLength: 32, Hash: hash}
			parameters = asn1.RawValue{FullBytes: must(hex.DecodeString("3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120"))}
		}
	default:
		id = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, last}
		if c.SHA1 {
			id = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
		}
	}
	return pkix.AlgorithmIdentifier{Algorithm: id, Parameters: parameters}, func(tbs []byte) []byte {
		h := hash.New()
		h.Write(tbs)
		return must(key.Sign(rand.Reader, h.Sum(nil), options))
	}
}

func (c *Cert) subject() []byte {
	switch {
	case c.Raw != nil:
		return c.Raw
	case c.DN == "":
		return []byte{0x30, 0}
	}
	return Name(asn1.TagUTF8String, c.DN)
}

// Name is a distinguished name of one common name, of the string type given.
func Name(tag int, cn string) []byte {
	type attribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	value := []byte(cn)
	if tag == asn1.TagBMPString {
		value = nil
		for _, r := range cn {
			value = append(value, byte(r>>8), byte(r))
		}
	}
	set := asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: must(asn1.Marshal(attribute{asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.RawValue{Tag: tag, Bytes: value}}))}
	return must(asn1.Marshal([]asn1.RawValue{set}))
}

func (c *Cert) ski() []byte {
	if c.NoSKI || c.V1 {
		return nil
	}
	if c.SKI != nil {
		return c.SKI
	}
	sum := sha1.Sum(must(x509.MarshalPKIXPublicKey(c.Key.Public())))
	return sum[:]
}

func (c *Cert) extensions(issuer *Cert) []pkix.Extension {
	var all []pkix.Extension
	add := func(last int, critical bool, value []byte) {
		all = append(all, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, last}, Critical: critical, Value: value})
	}
	if id := c.ski(); id != nil {
		add(14, c.CriticalIDs, must(asn1.Marshal(id)))
	}
	aki := issuer.ski()
	if c.AKI != nil {
		aki = c.AKI
	}
	if !c.NoAKI && (aki != nil || c.AKISerial != 0) {
		var parts []byte
		if aki != nil {
			parts = append(parts, must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: aki}))...)
		}
		if c.AKISerial != 0 {
			above := issuer
			if issuer.By != nil {
				above = issuer.By
			}
			name := above.subject()
			if c.AKIName != nil {
				name = c.AKIName
			}
			directory := must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: name}))
			parts = append(parts, must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, IsCompound: true, Bytes: directory}))...)
			parts = append(parts, must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: must(asn1.Marshal(big.NewInt(c.AKISerial)))[2:]}))...)
		}
		add(35, c.CriticalIDs, must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: parts})))
	}
	switch {
	case c.ExplicitFalse:
		add(19, true, []byte{0x30, 3, 1, 1, 0})
	case c.BC != BCNone:
		type constraints struct {
			CA      bool `asn1:"optional"`
			PathLen int  `asn1:"optional,default:-1"`
		}
		add(19, true, must(asn1.Marshal(constraints{c.BC == BCTrue, c.PathLen - 1})))
	}
	switch {
	case c.EmptyKU:
		add(15, true, []byte{3, 1, 0})
	case !c.NoKU:
		usage := c.KU
		if usage == 0 {
			usage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		}
		var bits [2]byte
		for i := range 9 {
			if usage&(1<<i) != 0 {
				bits[i/8] |= 0x80 >> (i % 8)
			}
		}
		add(15, true, must(asn1.Marshal(asn1.BitString{Bytes: bits[:1], BitLength: 8})))
	}
	if len(c.EKU) > 0 || c.EmptyEKU {
		add(37, false, must(asn1.Marshal(append([]asn1.ObjectIdentifier{}, c.EKU...))))
	}
	var names []byte
	if c.SPIFFE != "" {
		names = append(names, must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(c.SPIFFE)}))...)
	}
	if c.DNS != "" {
		names = append(names, must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(c.DNS)}))...)
	}
	if names != nil {
		add(17, true, must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: names})))
	}
	return append(all, c.Extra...)
}

// Base is one name of a name constraint, by the tag of GeneralName.
type Base struct {
	Tag   int
	Value string
}

// URIConstraint is a critical name constraints extension with one name.
func URIConstraint(tag int, permitted bool, value string) pkix.Extension {
	if permitted {
		return Constraints([]Base{{tag, value}}, nil)
	}
	return Constraints(nil, []Base{{tag, value}})
}

// Constraints is a critical name constraints extension.
func Constraints(permitted, excluded []Base) pkix.Extension {
	var all []byte
	for which, bases := range [][]Base{permitted, excluded} {
		var trees []byte
		for _, b := range bases {
			base := must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: b.Tag, IsCompound: b.Tag == 4, Bytes: []byte(b.Value)}))
			trees = append(trees, must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: base}))...)
		}
		if trees != nil {
			all = append(all, must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: which, IsCompound: true, Bytes: trees}))...)
		}
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 30}, Critical: true, Value: must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: all}))}
}

// Leaf is a workload's certificate as istiod issues it.
func Leaf(by *Cert) *Cert {
	return &Cert{By: by, BC: BCFalse, KU: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, NoSKI: true,
		EKU: []asn1.ObjectIdentifier{serverAuth(), clientAuth()}, SPIFFE: "spiffe://cluster.local/ns/a/sa/b", To: time.Hour}
}

// Pair makes all certificates and puts them together.
func (m *Maker) Pair(name string, bundle []*Cert, chain ...*Cert) Pair {
	p := Pair{Name: name}
	for _, c := range bundle {
		p.Bundle = append(p.Bundle, m.Make(c))
	}
	for _, c := range chain {
		p.Chain = append(p.Chain, m.Make(c))
	}
	p.Key = chain[0].Key
	return p
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
