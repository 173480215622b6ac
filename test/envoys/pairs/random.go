package pairs

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"time"
)

// Random draws a small world of roots, cross certificates and intermediates, some
// of them odd, and a pair from it.
func (m *Maker) Random(n int) Pair {
	pick := func(of int) int { return m.Rand.IntN(of) }
	chance := func(percent int) bool { return m.Rand.IntN(100) < percent }
	life := func(c *Cert) {
		switch {
		case chance(7):
			c.From, c.To = -48*time.Hour, -time.Minute
		case chance(3):
			c.From, c.To = time.Hour, 90*time.Hour
		}
	}
	oddity := func(c *Cert) {
		c.NoSKI, c.NoAKI = chance(15), chance(10)
		c.TwoAlgorithms = chance(2)
		life(c)
		if chance(12) {
			c.PathLen = 1 + pick(3)
		}
		switch {
		case chance(3):
			c.BC = BCFalse + pick(2)
		case chance(3):
			c.NoKU = true
		case chance(2):
			c.KU = x509.KeyUsageDigitalSignature
		case chance(2):
			c.EKU = []asn1.ObjectIdentifier{serverAuth()}
		case chance(2):
			c.EKU = []asn1.ObjectIdentifier{clientAuth(), serverAuth()}
		case chance(2):
			c.SHA1 = true
		case chance(1):
			c.V1 = true
		case chance(2):
			c.EKU = []asn1.ObjectIdentifier{anyUsage()}
		case chance(1):
			c.EmptyKU = true
		case chance(1):
			c.EmptyEKU = true
		case chance(1):
			c.CriticalIDs = true
		case chance(2):
			c.Serial = -int64(1 + pick(1000))
		case chance(4):
			host := []string{"cluster.local", "example.org", ".local", ".cluster.local", "local"}[pick(5)]
			c.Extra = []pkix.Extension{URIConstraint(6, chance(70), host)}
		case chance(2):
			c.Extra = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}
		if c.By != nil && chance(8) { // its issuer's name, written otherwise
			c.IssuerName = Name([]int{asn1.TagPrintableString, asn1.TagT61String, asn1.TagBMPString}[pick(3)], strings.ToUpper(c.By.DN)+" ")
		}
	}
	var keys []crypto.Signer
	for range 3 {
		keys = append(keys, m.Key())
	}
	switch {
	case chance(15):
		keys = append(keys, RSA(pick(2)))
	case chance(5):
		keys = append(keys, m.Ed25519())
	default:
		keys = append(keys, m.On(elliptic.P384()))
	}
	var roots, all []*Cert
	for i := range 2 + pick(2) {
		c := &Cert{DN: fmt.Sprintf("root %d", pick(2)+i/2), Key: keys[pick(3)], To: 1000 * time.Hour}
		oddity(c)
		roots = append(roots, c)
	}
	all = append(all, roots...)
	for range pick(3) { // cross certificates, and twins under other issuers
		of := all[pick(len(all))]
		c := &Cert{DN: of.DN, Key: of.Key, By: roots[pick(len(roots))], To: 800 * time.Hour}
		oddity(c)
		all = append(all, c)
	}
	var inters []*Cert
	for range 1 + pick(3) {
		c := &Cert{DN: fmt.Sprintf("intermediate %d", pick(2)), Key: keys[pick(len(keys))], By: all[pick(len(all))], To: 500 * time.Hour}
		oddity(c)
		if chance(10) {
			m.Make(c.By)
			c.AKISerial = c.By.Serial
			if chance(20) {
				c.AKISerial++
			}
		}
		inters = append(inters, c)
		all = append(all, c)
	}
	leaf := Leaf(inters[pick(len(inters))])
	leaf.NoAKI = chance(15)
	if chance(3) {
		life(leaf)
	}
	switch {
	case chance(2):
		leaf.EKU = []asn1.ObjectIdentifier{[]asn1.ObjectIdentifier{serverAuth(), clientAuth(), anyUsage()}[pick(3)]}
	case chance(2):
		leaf.EKU = nil
	case chance(2):
		leaf.KU = []x509.KeyUsage{x509.KeyUsageDigitalSignature, x509.KeyUsageKeyEncipherment, x509.KeyUsageKeyAgreement}[pick(3)]
	case chance(2):
		leaf.Serial = -9
	case chance(2):
		leaf.DN = leaf.By.DN
	case chance(2):
		leaf.SPIFFE = "spiffe://example.org/ns/a/sa/b"
	case chance(2):
		leaf.DNS = "a.example.org"
	}
	// What is trusted and what is sent leans towards what makes sense.
	var bundle []*Cert
	above := leaf.By
	for above.By != nil {
		above = above.By
	}
	if chance(80) {
		bundle = append(bundle, above)
	}
	for range pick(3) {
		bundle = append(bundle, all[pick(len(all))])
	}
	if chance(3) {
		bundle = append(bundle, leaf)
	}
	if len(bundle) == 0 {
		bundle = append(bundle, roots[0])
	}
	m.Rand.Shuffle(len(bundle), func(i, j int) { bundle[i], bundle[j] = bundle[j], bundle[i] })
	chain := []*Cert{leaf}
	for c := leaf.By; c.By != nil; c = c.By {
		if chance(92) {
			chain = append(chain, c)
		}
	}
	for range pick(3) {
		at := 1 + pick(len(chain))
		chain = append(chain[:at], append([]*Cert{all[pick(len(all))]}, chain[at:]...)...)
	}
	return m.Pair(fmt.Sprintf("random %d", n), bundle, chain...)
}
