package rotation

import (
	"slices"
	"time"

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
