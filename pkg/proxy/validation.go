package proxy

import (
	"fmt"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// spiffeValidator judges a peer by the bundle of its own trust domain. SPIRE answers with
// it unless it is told not to (spiffe/spire ef8527ec
// pkg/agent/endpoints/sdsv3/handler.go:421, disable_spiffe_cert_validation); Istio's own
// agents never do (istio 1.31.0-rc.0 security/pkg/nodeagent/sds/sdsservice.go:289).
const spiffeValidator = "envoy.tls.cert_validator.spiffe"

// validation is Envoy's CertificateValidationContext as far as it says who is trusted.
type validation struct {
	TrustedCA source `json:"trusted_ca"`
	CRL       source `json:"crl"`
	Custom    struct {
		Name   string `json:"name"`
		Config struct {
			TrustDomains []struct {
				Name   string `json:"name"`
				Bundle source `json:"trust_bundle"`
			} `json:"trust_domains"`
		} `json:"typed_config"`
	} `json:"custom_validator_config"`
}

// roots are those of trusted_ca; or, where a validator of its own is named, which does
// not look at that, its bundles by trust domain, and the certificates of all of them.
func (v validation) roots(parser *pki.Parser) ([]*pki.Certificate, []pki.Domain, error) {
	switch v.Custom.Name {
	case "":
		roots, err := v.TrustedCA.certificates(parser)
		return roots, nil, err
	case spiffeValidator:
	default:
		return nil, nil, fmt.Errorf("it is judged by %q, whose rules are not known", v.Custom.Name)
	}
	var all []*pki.Certificate
	var domains []pki.Domain
	seen := pki.Set{}
	for _, d := range v.Custom.Config.TrustDomains {
		if d.Name == "" || slices.ContainsFunc(domains, func(other pki.Domain) bool { return other.Name == d.Name }) {
			return nil, nil, fmt.Errorf("the trust domain %q is not one of its own", d.Name)
		}
		roots, err := d.Bundle.certificates(parser)
		if err != nil {
			return nil, nil, fmt.Errorf("trust domain %q: %w", d.Name, err)
		}
		domains = append(domains, pki.Domain{Name: d.Name, Roots: roots})
		for _, c := range roots {
			if !seen.Has(c) {
				seen[c.Fingerprint()] = c
				all = append(all, c)
			}
		}
	}
	if domains == nil {
		return nil, nil, fmt.Errorf("%s has no bundle of a trust domain that can be read", spiffeValidator)
	}
	return all, domains, nil
}
