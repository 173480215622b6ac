package mesh

import "github.com/meshca/kubectl-meshca/pkg/pki"

// Layout names the entries of a CA Secret.
type Layout struct {
	Cert, Key string
	// Chain is "" where the certificate's entry holds its chain too.
	Chain string
	Root  string
}

// LayoutOf is the layout of a CA's Secret (istio 1.30.3 security/pkg/pki/ca/ca.go:39,
// and pilot/pkg/bootstrap/istio_ca.go:229 for kubernetes.io/tls; a self-signed one's
// is signer and root in one, ca.go:226); false for a CA of another kind.
func LayoutOf(kind CAKind) (Layout, bool) {
	switch kind {
	case CAPlugged:
		return Layout{Cert: pki.CertFile, Key: pki.KeyFile, Chain: pki.ChainFile, Root: pki.RootFile}, true
	case CAPluggedTLS:
		return Layout{Cert: "tls.crt", Key: "tls.key", Root: "ca.crt"}, true
	case CASelfSigned: // root-cert.pem is never read
		return Layout{Cert: pki.CertFile, Key: pki.KeyFile, Root: pki.CertFile}, true
	}
	return Layout{}, false
}

// Entries are the names of all that the layout has.
func (l Layout) Entries() []string {
	all := []string{l.Cert, l.Key}
	if l.Chain != "" {
		all = append(all, l.Chain)
	}
	return append(all, l.Root)
}
