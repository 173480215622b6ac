package pki

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// LeafLifetime is what an agent asks for by default (SECRET_TTL, istio 1.30.3
// pilot/cmd/pilot-agent/options/options.go:76).
const LeafLifetime = 24 * time.Hour

// leafBackdating is istiod's allowance for clocks that are behind (istio 1.30.3
// security/pkg/pki/util/generate_cert.go:285).
const leafBackdating = 2 * time.Minute

// LeafRequest asks for a workload's or istiod's own certificate.
type LeafRequest struct {
	// SPIFFE and DNSNames are the names; one at least is needed.
	SPIFFE   string
	DNSNames []string
	// Public is the key it is for.
	Public crypto.PublicKey
	Now    time.Time
	// Lifetime counts from Now; 0 is LeafLifetime.
	Lifetime time.Duration
}

// IssueLeaf signs a leaf the way istiod does (istio 1.30.3
// security/pkg/pki/util/generate_cert.go:285): no subject, so that the names are a
// critical SAN, dated back two minutes, for clients and servers. It does not
// outlive its issuer, as in istiod since 1.28.7, 1.29.3 and 1.30.0.
func (a *Authority) IssueLeaf(r LeafRequest) (*Certificate, error) {
	if err := a.maySign(); err != nil {
		return nil, fmt.Errorf("issuing a leaf: %w", err)
	}
	lifetime := LeafLifetime
	if r.Lifetime != 0 {
		lifetime = r.Lifetime
	}
	switch {
	case r.SPIFFE == "" && len(r.DNSNames) == 0:
		return nil, errors.New("issuing a leaf: it has neither a SPIFFE ID nor a DNS name")
	case r.Public == nil:
		return nil, errors.New("issuing a leaf: there is no public key")
	case r.Now.IsZero():
		return nil, errors.New("issuing a leaf: it is not said when")
	case lifetime < 0:
		return nil, fmt.Errorf("issuing a leaf: the lifetime %s is negative", lifetime)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: r.Now.Add(-leafBackdating).UTC(), NotAfter: earlier(r.Now.Add(lifetime).UTC(), a.Cert.X509.NotAfter), DNSNames: r.DNSNames,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if !template.NotAfter.After(template.NotBefore) {
		return nil, fmt.Errorf("issuing a leaf: %s expired at %s", a.Cert.Subject(), template.NotAfter.UTC().Format(time.RFC3339))
	}
	if r.SPIFFE != "" {
		id, err := url.Parse(r.SPIFFE)
		if err != nil || id.Scheme != "spiffe" || id.Host == "" {
			return nil, fmt.Errorf("issuing a leaf: %q is no SPIFFE ID", r.SPIFFE)
		}
		template.URIs = []*url.URL{id}
	}
	return sign(template, a.Cert.X509, r.Public, a.Key)
}
