package rotation

import (
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// path are the certificates that vouch for a signer below a root, from the signer on:
// each the first of the chain whose key signed the one before it, as an Envoy picks it
// (it does not go back). What else lies in the chain's file vouches for nobody.
func path(signer, root *pki.Certificate, chain []*pki.Certificate) []*pki.Certificate {
	all := []*pki.Certificate{signer}
	for at := signer; !at.Equal(root) && !at.SignedBy(root); {
		i := slices.IndexFunc(chain, func(c *pki.Certificate) bool {
			return !slices.ContainsFunc(all, c.Equal) && at.SignedBy(c)
		})
		if i < 0 {
			break
		}
		at = chain[i]
		all = append(all, at)
	}
	return all
}

// ofOneCA finds what a bundle has of the CA whose chain, the certificate that signs first,
// hangs from this root of it: the root itself, or what stands above it where that is an
// intermediate, and beside it other certificates of its name and key, and of those in
// between. Each of them vouches for what the CA signs.
func ofOneCA(bundle, chain []*pki.Certificate, root *pki.Certificate) (top *pki.Certificate, beside []*pki.Certificate) {
	top, own := root, append(path(chain[0], root, chain[1:]), root)
	for next := above(bundle, top); next != nil && !slices.ContainsFunc(own, next.Equal); next = above(bundle, top) {
		top, own = next, append(own, next)
	}
	for _, c := range bundle {
		if !c.Equal(top) && slices.ContainsFunc(own, c.SameCA) {
			beside = append(beside, c)
		}
	}
	return top, beside
}

// above is what vouches for a certificate in a bundle, nil for a root.
func above(bundle []*pki.Certificate, c *pki.Certificate) *pki.Certificate {
	if c.SignedBy(c) {
		return nil
	}
	i := slices.IndexFunc(bundle, c.SignedBy)
	if i < 0 {
		return nil
	}
	return bundle[i]
}

// leavesRoot reports whether the old root is one that this rotation takes away.
func (p *Plan) leavesRoot() bool {
	return p.oldRoot != nil && !p.oldRoot.Equal(p.config.New.Roots.Certs[0])
}

// leaving are the certificates between the old root and the leaves that this rotation
// does without: they must hold until nobody's leaf comes from them. An intermediate that
// stays is none of these: no step replaces what it has signed.
func (p *Plan) leaving() []*pki.Certificate {
	stays := pki.NewSet(slices.Concat([]*pki.Certificate{p.config.New.Cert}, p.config.New.Chain, []*pki.Certificate{p.oldRoot})...)
	return slices.DeleteFunc(slices.Clone(p.oldPath), stays.Has)
}

// firstOf is the certificate that ends first, nil where none does.
func firstOf(certs []*pki.Certificate) (first *pki.Certificate) {
	for _, c := range certs {
		if c.X509 != nil && (first == nil || c.X509.NotAfter.Before(first.X509.NotAfter)) {
			first = c
		}
	}
	return first
}

// oldEnd is when the old CA does: its root, or what stands between it and the leaves.
func (p *Plan) oldEnd() time.Time {
	return firstEnd(append([]*pki.Certificate{p.oldRoot}, p.oldPath...))
}

// OldCAEnds is the refusal of a way back that rollback --to-ending answers.
const OldCAEnds = "old-ca-ends"

// fewTimes is how often what a way back needs should fit into what is left of the old CA:
// whoever goes back has to leave it again.
const fewTimes = 3

// leaveAgain is how much time to leave a CA again is never too little.
const leaveAgain = 24 * time.Hour

// refuseEnding refuses a way back towards a CA that ends before everybody is back, or a
// leaf's life later, a day at most (a Citadel's leaves live 90): there would be no time to
// leave it again.
func (p *Plan) refuseEnding(s *mesh.Snapshot) {
	if !p.config.Back || p.Strategy == "" || !p.ended.IsZero() {
		return
	}
	rests := p.leaving()
	if p.leavesRoot() {
		rests = append([]*pki.Certificate{p.oldRoot}, rests...)
	}
	first := firstOf(rests)
	if first == nil {
		return
	}
	left, way := first.X509.NotAfter.Sub(s.ClusterTime()), p.Cost.LongestWait+p.Cost.FileWaits
	needs := way + min(leafLife(s, nil), leaveAgain)
	object := "certificate " + first.Subject()
	switch {
	case left < needs:
		p.refuse("old-ca-ends", object, fmt.Sprintf("it is of the old CA and ends at %s, in %s; the way back takes up to %s, and to leave it again %s are needed", stamp(first.X509.NotAfter), left.Round(time.Minute), way.Round(time.Minute), (needs-way).Round(time.Minute)),
			"go forward: 'kubectl meshca rotate'. Or go back all the same, 'kubectl meshca rollback --to-ending', and leave that CA before it ends")
	case left < fewTimes*needs:
		p.warn("old-ca-ends", object, fmt.Sprintf("it is of the old CA and ends at %s, in %s: there is little time to leave it again", stamp(first.X509.NotAfter), left.Round(time.Minute)),
			"plan the next rotation before going back: 'kubectl meshca plan', for a way of its own that ends before then")
	}
}
