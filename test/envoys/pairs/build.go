// Package pairs makes odd pairs of a trust bundle and a presented chain: those
// that judges of chains have been seen to differ on, and random ones. Unit tests
// hold the verifier against what real Envoys said of them; test/envoys asks the
// Envoys again.
package pairs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	mathrand "math/rand/v2"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Pair is a bundle and a chain, with the key that proves the leaf.
type Pair struct {
	Name   string
	Bundle []*pki.Certificate
	Chain  []*pki.Certificate
	Key    crypto.Signer
	// Want is what the verifier must answer; "" where the Envoys alone say.
	Want pki.Result
}

// Cert is a certificate to be, field by field: everything that a template of
// crypto/x509 decides by itself can be set here.
type Cert struct {
	DN       string // common name
	Raw      []byte // the subject's DER, where it is not plain
	Key      *ecdsa.PrivateKey
	By       *Cert // nil: itself
	From, To time.Duration
	Serial   int64
	NoSKI    bool
	SKI      []byte // instead of the key's own
	NoAKI    bool
	AKI      []byte // instead of the issuer's SKI
	// AKISerial names the issuer's issuer and this serial number in the AKI.
	AKISerial  int64
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
	SHA1       bool

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
func (m *Maker) Key() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

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

type signed struct {
	TBS       asn1.RawValue
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
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
	algorithm := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}}
	if c.SHA1 {
		algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
	}
	issuerName := issuer.subject()
	if c.IssuerName != nil {
		issuerName = c.IssuerName
	}
	t := tbs{
		Version: 2, Serial: big.NewInt(c.Serial), Algorithm: algorithm, Issuer: asn1.RawValue{FullBytes: issuerName},
		Validity: validity{m.Now.Add(from).UTC(), m.Now.Add(to).UTC()}, Subject: asn1.RawValue{FullBytes: c.subject()},
		PublicKey: asn1.RawValue{FullBytes: must(x509.MarshalPKIXPublicKey(c.Key.Public()))},
	}
	if c.V1 {
		t.Version = 0
	} else {
		t.Extensions = c.extensions(issuer)
	}
	raw := must(asn1.Marshal(t))
	var signature []byte
	if c.SHA1 {
		digest := sha1.Sum(raw)
		signature = must(ecdsa.SignASN1(rand.Reader, issuer.Key, digest[:]))
	} else {
		digest := sha256.Sum256(raw)
		signature = must(ecdsa.SignASN1(rand.Reader, issuer.Key, digest[:]))
	}
	c.made = pki.NewCertificate(must(asn1.Marshal(signed{TBS: asn1.RawValue{FullBytes: raw}, Algorithm: algorithm, Signature: asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})))
	return c.made
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
		add(14, false, must(asn1.Marshal(id)))
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
			directory := must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: above.subject()}))
			parts = append(parts, must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, IsCompound: true, Bytes: directory}))...)
			parts = append(parts, must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: must(asn1.Marshal(big.NewInt(c.AKISerial)))[2:]}))...)
		}
		add(35, false, must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: parts})))
	}
	if c.BC != BCNone {
		type constraints struct {
			CA      bool `asn1:"optional"`
			PathLen int  `asn1:"optional,default:-1"`
		}
		add(19, true, must(asn1.Marshal(constraints{c.BC == BCTrue, c.PathLen - 1})))
	}
	if !c.NoKU {
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
	if len(c.EKU) > 0 {
		add(37, false, must(asn1.Marshal(c.EKU)))
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

// URIConstraint is a critical name constraints extension that permits one host.
func URIConstraint(tag int, permitted bool, value string) pkix.Extension {
	base := must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)}))
	tree := must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: base}))
	which := 1
	if permitted {
		which = 0
	}
	all := must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: which, IsCompound: true, Bytes: tree}))
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
