package rotation

import (
	"bytes"
	"encoding/pem"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// join lays bundles out one after another. Each is contained in the result byte
// for byte, which is what istiod before 1.30 asks of a bundle that is to replace
// another (istio 1.20.0 pilot/pkg/bootstrap/istio_ca.go:329); only a missing
// newline between two is added, for glued blocks are read by nobody.
func join(parts ...[]byte) []byte {
	var all []byte
	for _, part := range parts {
		if len(all) > 0 && all[len(all)-1] != '\n' {
			all = append(all, '\n')
		}
		all = append(all, part...)
	}
	return all
}

// replaceRoot is the bundle with the block of the old CA's root replaced by the new root,
// without what else of that CA lies in it, and everything else, other roots and comments,
// byte for byte as it was. Where the new root is in it already, the old CA only goes.
func replaceRoot(bundle pki.Bundle, old *pki.Certificate, beside []*pki.Certificate, new *pki.Certificate) []byte {
	var out []byte
	placed := bundle.Set().Has(new)
	rest := bundle.Raw
	for {
		begin := bytes.Index(rest, []byte("-----BEGIN"))
		block, next := pem.Decode(rest)
		if block == nil || begin < 0 {
			return append(out, rest...)
		}
		out = append(out, rest[:begin]...)
		switch c := pki.NewCertificate(block.Bytes); {
		case slices.ContainsFunc(beside, c.Equal):
		case !c.Equal(old):
			out = append(out, rest[begin:len(rest)-len(next)]...)
		case !placed:
			if len(out) > 0 && out[len(out)-1] != '\n' {
				out = append(out, '\n')
			}
			out = append(out, new.PEM()...)
			placed = true
		}
		rest = next
	}
}
