package mesh

import "github.com/meshca/kubectl-meshca/pkg/pki"

// Judge is by whose rules this proxy judges its peers.
func (p Proxy) Judge() pki.Judge {
	if p.Kind == Ztunnel {
		return pki.Webpki
	}
	return pki.Envoy
}
