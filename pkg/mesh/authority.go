package mesh

import "github.com/meshca/kubectl-meshca/pkg/pki"

// Authority is the CA that a source holds, as far as its certificates go; nil
// where they could not be read.
func (c CASource) Authority() *pki.Authority {
	if len(c.Cert.Certs) == 0 || len(c.Root.Certs) == 0 {
		return nil
	}
	return pki.NewAuthority(c.Cert.Certs[0], c.Chain.Certs, c.Root)
}
