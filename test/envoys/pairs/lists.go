package pairs

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// list is a CRL to be.
type list struct {
	by      *Cert
	signer  *Cert // whose key signs it, by where it is nil
	from    time.Duration
	to      time.Duration
	revoked []*Cert
	extra   []pkix.Extension
}

// text is the lists as one file.
func (m *Maker) text(lists ...list) (all []byte) {
	for _, l := range lists {
		if l.signer == nil {
			l.signer = l.by
		}
		if l.from == 0 {
			l.from = -time.Hour
		}
		if l.to == 0 {
			l.to = 24 * time.Hour
		}
		issuer := *m.Make(l.by).X509
		issuer.KeyUsage |= x509.KeyUsageCRLSign // Go would not make it, and Envoy is to judge it
		m.Make(l.signer)
		template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: m.Now.Add(l.from).UTC(), NextUpdate: m.Now.Add(l.to).UTC(), ExtraExtensions: l.extra}
		for _, c := range l.revoked {
			template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: m.Make(c).X509.SerialNumber, RevocationTime: m.Now.Add(-time.Hour).UTC()})
		}
		issuer.PublicKey = l.signer.Key.Public()
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: must(x509.CreateRevocationList(rand.Reader, template, &issuer, l.signer.Key))})...)
	}
	return all
}

// lists are pairs whose judge has CRLs.
func (m *Maker) lists() (all []Pair) {
	root := func(dn string) *Cert { return &Cert{DN: dn, To: 1000 * time.Hour} }
	var r, i, l, other *Cert
	fresh := func() {
		r = root("root A")
		i = &Cert{DN: "intermediate A", By: r, PathLen: 1, To: 500 * time.Hour}
		l, other = Leaf(i), root("root B")
		m.Make(l)
	}
	add := func(name string, crls []byte, bundle []*Cert, chain ...*Cert) {
		p := m.Pair("CRL: "+name, bundle, chain...)
		p.CRLs = crls
		all = append(all, p)
	}
	usual := func(name string, lists ...list) { add(name, m.text(lists...), []*Cert{r}, l, i) }

	fresh()
	usual("of every issuer", list{by: r}, list{by: i})
	usual("of the root alone", list{by: r})
	usual("of the intermediate alone", list{by: i})
	usual("of somebody else", list{by: other})
	add("a text without any", []byte("\n"), []*Cert{r}, l, i)
	add("root sent too", m.text(list{by: r}, list{by: i}), []*Cert{r}, l, i, r)
	add("two roots trusted", m.text(list{by: r}, list{by: i}), []*Cert{r, other}, l, i)
	usual("the leaf is revoked", list{by: r}, list{by: i, revoked: []*Cert{l}})
	usual("another leaf is revoked", list{by: r}, list{by: i, revoked: []*Cert{Leaf(i)}})
	usual("the intermediate is revoked", list{by: r, revoked: []*Cert{i}}, list{by: i})
	usual("the root is revoked by itself", list{by: r, revoked: []*Cert{r}}, list{by: i})
	usual("of the intermediate, ended", list{by: r}, list{by: i, from: -2 * time.Hour, to: -time.Minute})
	usual("of the root, ended", list{by: r, from: -2 * time.Hour, to: -time.Minute}, list{by: i})
	usual("of the root, to come", list{by: r, from: time.Hour}, list{by: i})
	usual("ended one first", list{by: r}, list{by: i, from: -2 * time.Hour, to: -time.Minute, revoked: []*Cert{l}}, list{by: i})
	usual("ended one last", list{by: r}, list{by: i}, list{by: i, from: -2 * time.Hour, to: -time.Minute, revoked: []*Cert{l}})
	usual("the newer one revokes", list{by: r}, list{by: i, from: -2 * time.Hour}, list{by: i, revoked: []*Cert{l}})
	usual("the older one revokes", list{by: r}, list{by: i, from: -2 * time.Hour, revoked: []*Cert{l}}, list{by: i})
	usual("two of one time, one revokes", list{by: r}, list{by: i, revoked: []*Cert{l}}, list{by: i})
	usual("signed by another key", list{by: r}, list{by: i, signer: other})
	usual("a stranger's beside them", list{by: other}, list{by: r}, list{by: i})
	usual("with a distribution point", list{by: r}, list{by: i, extra: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0x03, 0x81, 0x01, 0xff}}}})
	usual("with an unknown critical extension", list{by: r}, list{by: i, extra: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}})
	fresh()
	i.KU = x509.KeyUsageCertSign
	i.made, l.made = nil, nil
	usual("the intermediate may not sign any", list{by: r}, list{by: i})
	fresh()
	add("the intermediate is trusted", m.text(list{by: r}, list{by: i}), []*Cert{i}, l, i)
	add("a leaf under the root", m.text(list{by: r}), []*Cert{r}, Leaf(r))
	// A rotation under the lists of the CA of before.
	fresh()
	next := &Cert{DN: "intermediate B", By: other, PathLen: 1, To: 500 * time.Hour}
	add("both roots trusted, the new leaf", m.text(list{by: r}, list{by: i}), []*Cert{r, other}, Leaf(next), next)
	under := &Cert{DN: "intermediate A2", By: r, PathLen: 1, To: 500 * time.Hour}
	add("another intermediate under the same root", m.text(list{by: r}, list{by: i}), []*Cert{r}, Leaf(under), under)
	again := &Cert{DN: "intermediate A", By: r, PathLen: 1, To: 500 * time.Hour}
	add("another intermediate of the same name", m.text(list{by: r}, list{by: i}), []*Cert{r}, Leaf(again), again)
	return all
}

// Lists are CRLs of these CAs as one file, from a moment on and for so long, in which these
// are revoked.
func Lists(from time.Time, life time.Duration, by []*pki.Authority, revoked ...*pki.Certificate) (all []byte) {
	for _, ca := range by {
		template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: from, NextUpdate: from.Add(life)}
		for _, c := range revoked {
			template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.X509.SerialNumber, RevocationTime: from})
		}
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: must(x509.CreateRevocationList(rand.Reader, template, ca.Cert.X509, ca.Key))})...)
	}
	return all
}
