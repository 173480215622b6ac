package check

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// Class is a set of proxies that present the same chain behind their own leaves
// and trust the same roots: whom one of them accepts, all of them do. What only a
// leaf can have (its dates, its names) is not in it, and is judged leaf by leaf.
type Class struct {
	Name    string         `json:"name"`
	Proxies []string       `json:"proxies"`
	Kind    mesh.ProxyKind `json:"proxyKind"`
	Signer  string         `json:"signer"`
	Trusts  []string       `json:"trusts"`
	// Releases and Reach are those of its proxies.
	Releases []string     `json:"releases,omitempty"`
	Reach    []mesh.Reach `json:"reach,omitempty"`
	// Chain is what one of them presents, one whose leaf is valid where there is
	// such a one; Roots is what all of them trust, for the peers of a trust domain each
	// where they hold Domains.
	Chain   []*pki.Certificate `json:"-"`
	Roots   []*pki.Certificate `json:"-"`
	Domains []pki.Domain       `json:"-"`
	// CRLs are what all of them judge by besides, nil where they have none.
	CRLs *pki.CRLs `json:"-"`

	judge        pki.Judge
	minor        int
	chain, trust digest
}

type digest = [sha256.Size]byte

// Classes sorts the readable proxies of a Snapshot into classes, in the order of
// the Snapshot.
func Classes(s *mesh.Snapshot) []Class {
	var all []Class
	index := map[[2]digest]int{}
	best := map[digest][]*pki.Certificate{}
	minors := map[[3]string]int{} // by what they say of their release: few, and slow to parse
	var scratch []byte
	byDomain, now := mesh.Domains(s.Proxies) != nil, s.ClusterTime()
	for _, p := range s.Proxies {
		if p.Loaded == nil {
			continue
		}
		release := [3]string{string(p.Kind), p.Loaded.Info.Envoy, p.Version}
		minor, ok := minors[release]
		if !ok {
			minor = pki.EnvoyRules(p.EnvoyMinor())
			minors[release] = minor
		}
		for _, identity := range p.Loaded.Identities {
			if identity.Leaf() == nil {
				continue
			}
			var key [2]digest
			key[0], scratch = chainKey(identity, byDomain, scratch)
			crls := s.CRLs(p, identity)
			key[1], scratch = trustKey(p.Kind, minor, identity, crls, scratch)
			i, ok := index[key]
			if !ok {
				i = len(all)
				index[key] = i
				all = append(all, classOf(p, identity, i, minor, key))
				all[i].CRLs = crls
			}
			all[i].add(p)
			if chain := best[key[0]]; chain == nil || !current(chain[0], now) && current(identity.Chain[0], now) {
				best[key[0]] = identity.Chain
			}
		}
	}
	for i := range all {
		all[i].Chain = best[all[i].chain]
	}
	return all
}

// About is what sets it apart from others in words: who judges, who signed, what comes
// with a leaf, and what is trusted.
func (c Class) About() string {
	text := fmt.Sprintf("%s, signed by %s", c.Kind, c.Signer)
	if n := len(c.Chain) - 1; n > 0 {
		text += fmt.Sprintf(" (%d above the leaf)", n)
	}
	return text + ", trust " + strings.Join(c.Trusts, "; ")
}

func (c *Class) add(p mesh.Proxy) {
	if ref := p.Ref(); len(c.Proxies) == 0 || c.Proxies[len(c.Proxies)-1] != ref {
		c.Proxies = append(c.Proxies, ref)
	}
	release, atLeast := p.ReleaseOf()
	if atLeast || release == "" {
		release = "unknown"
	}
	if !slices.Contains(c.Releases, release) {
		c.Releases = append(c.Releases, release)
	}
	if !slices.Contains(c.Reach, p.Reach) {
		c.Reach = append(c.Reach, p.Reach)
	}
}

func current(leaf *pki.Certificate, at time.Time) bool {
	return leaf.X509 != nil && !at.Before(leaf.X509.NotBefore) && !at.After(leaf.X509.NotAfter)
}

// chainKey is what makes two presented chains alike: the issuer by name and key,
// and what follows the leaf; and where somebody judges by trust domain, the leaf's own
// and what else is asked of it there.
func chainKey(i proxy.Identity, byDomain bool, scratch []byte) (digest, []byte) {
	b := scratch[:0]
	add := func(part []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	if leaf := i.Leaf().X509; leaf != nil {
		add(leaf.RawIssuer)
		add(leaf.AuthorityKeyId)
		if len(leaf.AuthorityKeyId) == 0 {
			// Two generations of a CA may share a name: without a key id only the
			// signature tells them apart.
			f := signerOf(i.Leaf(), slices.Concat(i.Chain[1:], i.Roots))
			add(f[:])
		}
		if byDomain {
			add([]byte(pki.DomainOf(i.SPIFFE)))
			add(fmt.Append(nil, leaf.KeyUsage, leaf.IsCA, leaf.ExtKeyUsage))
		}
	}
	for _, c := range i.Chain[1:] {
		f := c.Fingerprint()
		b = append(b, f[:]...)
	}
	return sha256.Sum256(b), b
}

// signerOf is the first of the candidates whose key signed the leaf, zero where
// none did.
func signerOf(leaf *pki.Certificate, candidates []*pki.Certificate) pki.Fingerprint {
	for _, c := range candidates {
		if leaf.SignedBy(c) {
			return c.Fingerprint()
		}
	}
	return pki.Fingerprint{}
}

// trustKey is what makes two judges alike: who judges, by which set of roots, and by
// which CRLs.
func trustKey(kind mesh.ProxyKind, minor int, i proxy.Identity, crls *pki.CRLs, scratch []byte) (digest, []byte) {
	b := scratch[:0]
	add := func(roots []*pki.Certificate) {
		prints := make([]pki.Fingerprint, len(roots))
		for i, c := range roots {
			prints[i] = c.Fingerprint()
		}
		slices.SortFunc(prints, func(a, b pki.Fingerprint) int { return bytes.Compare(a[:], b[:]) })
		for _, f := range slices.Compact(prints) {
			b = append(b, f[:]...)
		}
	}
	if i.Domains == nil {
		add(i.Roots)
	}
	for _, d := range i.Domains {
		b = binary.BigEndian.AppendUint32(b, uint32(len(d.Name)))
		b = append(b, d.Name...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(d.Roots)))
		add(d.Roots)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(minor))
	b = append(b, kind...)
	if crls != nil {
		f := crls.Fingerprint()
		b = append(b, f[:]...)
	}
	return sha256.Sum256(b), b
}

func classOf(p mesh.Proxy, i proxy.Identity, n, minor int, key [2]digest) Class {
	c := Class{Name: className(n), Kind: p.Kind, Roots: i.Roots, Domains: i.Domains, judge: p.Judge(), minor: minor, Signer: "unknown", chain: key[0], trust: key[1]}
	if leaf := i.Leaf().X509; leaf != nil {
		c.Signer = leaf.Issuer.String()
	}
	for _, root := range i.Roots {
		c.Trusts = append(c.Trusts, root.Subject())
	}
	return c
}

// className is A to Z, then A1, B1 and so on.
func className(n int) string {
	name := string(rune('A' + n%26))
	if n >= 26 {
		name += fmt.Sprint(n / 26)
	}
	return name
}

// describe names a class's proxies, a few of them.
func (c Class) describe() string {
	const few = 3
	names := strings.Join(c.Proxies[:min(few, len(c.Proxies))], ", ")
	if more := len(c.Proxies) - few; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return names
}
