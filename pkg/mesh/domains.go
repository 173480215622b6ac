package mesh

import (
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Domains are the trust domains that these proxies' certificates are of, where any of
// them judges its peers by trust domain; else nil, for nobody asks.
func Domains(proxies []Proxy) []string {
	var all []string
	asked := false
	for _, p := range proxies {
		if p.Loaded == nil {
			continue
		}
		for _, i := range p.Loaded.Identities {
			asked = asked || i.Domains != nil
			if name := pki.DomainOf(i.SPIFFE); !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	if !asked {
		return nil
	}
	slices.Sort(all)
	return all
}
