package pki

import (
	"crypto/x509"
	"slices"
	"strings"
)

// Domain is the trust bundle for peers of one trust domain.
type Domain struct {
	// Name is the trust domain, without a scheme.
	Name  string         `json:"name"`
	Roots []*Certificate `json:"roots"`
}

// DomainOf is the trust domain of a SPIFFE ID as Envoy reads it: letter case counts, and
// an ID without a path has none.
func DomainOf(spiffe string) string {
	rest, is := strings.CutPrefix(spiffe, "spiffe://")
	name, _, path := strings.Cut(rest, "/")
	if !is || !path {
		return ""
	}
	return name
}

// RootsOf are the roots that hold for a trust domain, nil where none do.
func RootsOf(domains []Domain, name string) []*Certificate {
	i := slices.IndexFunc(domains, func(d Domain) bool { return d.Name == name })
	if i < 0 {
		return nil
	}
	return domains[i].Roots
}

// byDomain is Envoy's SPIFFE validator, with which SPIRE has peers judged (envoy 028a80cb4
// source/extensions/transport_sockets/tls/cert_validator/spiffe/spiffe_validator.cc). The
// leaf's first URI decides by which bundle, and a chain ends in a self-signed certificate
// alone: partial chains are not asked for, as the other validator does. Extended key
// usages nobody asks there since 1.22: before, they count.
func (q Question) byDomain() Answer {
	leaf := readFields(q.Chain[0])
	if leaf.broken != nil || leaf.odd != nil {
		return depends("the leaf's names cannot be read")
	}
	uris := leaf.uris()
	if len(uris) == 0 {
		return refused("the leaf has no SPIFFE ID, and roots hold for a trust domain each")
	}
	domain := DomainOf(uris[0])
	q.Roots = RootsOf(q.Domains, domain)
	switch {
	case domain == "" || len(q.Roots) == 0:
		return refused("nothing is trusted for the trust domain of %s", uris[0])
	case leaf.hasBC && leaf.ca:
		return refused("%s is a CA, and no workload may be", leaf.Subject())
	case !leaf.hasKU || leaf.ku&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return refused("%s may sign certificates (key usage), and no workload may", leaf.Subject())
	}
	q.whole = true
	answer := envoyVerify(q)
	if answer.Result == Refused && q.Usage != AnyUsage {
		other := q
		other.Usage = AnyUsage
		if envoyVerify(other).Result != Refused {
			return depends("releases differ on this: %s", answer.Reason)
		}
	}
	return answer
}
