package pki

import "slices"

// Rooted is the CA with its own intermediates presented, and not trusted, where the
// bundle holds the self-signed root above them: files of roots are often written from the
// CA up to its root. Left there they would be taken for the root, and be trusted on when
// it has been replaced. Where no such root is there the CA is as it was.
func (a *Authority) Rooted() *Authority {
	var between []*Certificate
	for at := a.Cert; ; {
		vouches := func(c *Certificate) bool { return mayIssue(c, at) && issued(c, at) }
		if i := slices.IndexFunc(a.Roots.Certs, func(c *Certificate) bool { return selfSigned(c) && vouches(c) }); i >= 0 {
			return a.under(a.Roots.Certs[i], between)
		}
		all := slices.Concat(a.Chain, a.Roots.Certs)
		i := slices.IndexFunc(all, func(c *Certificate) bool { return !slices.ContainsFunc(between, c.Equal) && vouches(c) })
		if i < 0 {
			return a
		}
		at = all[i]
		between = append(between, at)
	}
}

// under is the CA below a root of its bundle, with what stands between them.
func (a *Authority) under(root *Certificate, between []*Certificate) *Authority {
	own := NewSet(append(between, a.Cert)...)
	if root.Equal(a.Cert) || !slices.ContainsFunc(a.Roots.Certs, own.Has) {
		return a
	}
	rooted := &Authority{Cert: a.Cert, Key: a.Key, Chain: slices.Clone(a.Chain)}
	others := slices.DeleteFunc(slices.Clone(a.Roots.Certs), func(c *Certificate) bool { return own.Has(c) || c.Equal(root) })
	rooted.Roots = NewBundle(append([]*Certificate{root}, others...)...)
	for _, c := range between {
		if !slices.ContainsFunc(rooted.Chain, c.Equal) {
			rooted.Chain = append(rooted.Chain, c)
		}
	}
	return rooted
}
