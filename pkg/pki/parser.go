package pki

import "sync"

// Parser parses the bundles of many who hold the same few CAs: a CA's certificate is
// parsed once and shared by all, as is a whole bundle of CAs, so that the bundles of
// ten thousand proxies cost what their leaves do. Leaves are not remembered: its
// memory is that of the distinct CAs and bundles. The zero Parser is ready for use,
// by several goroutines at once; what it returns may be read only.
type Parser struct {
	mu      sync.Mutex
	cas     map[Fingerprint]*Certificate
	bundles map[string][]*Certificate // by text, where all are CAs
	crls    map[string]*CRLs          // by text
}

// mostKept bounds how many CAs and how many bundles are remembered: what is parsed may
// come from a proxy that lies.
const mostKept = 1024

// Certificates parses as ParseBundle does.
func (p *Parser) Certificates(raw []byte) ([]*Certificate, error) {
	p.mu.Lock()
	certs, ok := p.bundles[string(raw)]
	p.mu.Unlock()
	if ok {
		return certs, nil
	}
	certs, err := parsePEM(raw, p.certificate)
	if err != nil {
		return nil, err
	}
	for _, c := range certs {
		if !isCA(c) {
			return certs, nil
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bundles == nil {
		p.bundles = map[string][]*Certificate{}
	}
	if len(p.bundles) < mostKept {
		p.bundles[string(raw)] = certs[:len(certs):len(certs)]
	}
	return certs, nil
}

// CRLs parses as ParseCRLs does.
func (p *Parser) CRLs(raw []byte) *CRLs {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.crls[string(raw)]
	if ok {
		return c
	}
	c = ParseCRLs(raw)
	if p.crls == nil {
		p.crls = map[string]*CRLs{}
	}
	if c != nil && len(p.crls) < mostKept {
		p.crls[string(raw)] = c
	}
	return c
}

// certificate is NewCertificate's, or the one that is there already.
func (p *Parser) certificate(der []byte) *Certificate {
	f := fingerprintOf(der)
	p.mu.Lock()
	c := p.cas[f]
	p.mu.Unlock()
	if c != nil {
		return c
	}
	if c = NewCertificate(der); !isCA(c) {
		return c
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if there := p.cas[f]; there != nil {
		return there
	}
	if p.cas == nil {
		p.cas = map[Fingerprint]*Certificate{}
	}
	if len(p.cas) < mostKept {
		p.cas[f] = c
	}
	return c
}

func isCA(c *Certificate) bool { return c.X509 != nil && c.X509.IsCA }
