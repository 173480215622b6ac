package proxy

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Names of the two secrets that pilot-agent serves for mesh mTLS over SDS
// (istio 1.30.3 security/pkg/nodeagent/cache/secretcache.go).
const (
	workloadSecret = "default"
	rootSecret     = "ROOTCA"
)

// ErrNoSecrets is returned for a dump that holds no dynamic secret: the proxy
// runs, but nothing says with which certificate.
var ErrNoSecrets = errors.New("the proxy's config dump holds no mesh certificate (no dynamic active secret)")

// secret is one dynamic secret of a config dump, in the two forms Envoy prints:
// an element of configs[] itself (?resource=), or an element of a list in it.
type secret struct {
	Name        string    `json:"name"`
	LastUpdated time.Time `json:"last_updated"`
	Secret      struct {
		TLSCertificate struct {
			CertificateChain source `json:"certificate_chain"`
		} `json:"tls_certificate"`
		ValidationContext validation `json:"validation_context"`
	} `json:"secret"`
}

// source is Envoy's DataSource as far as a dump shows one.
type source struct {
	InlineBytes  string `json:"inline_bytes"`
	InlineString string `json:"inline_string"`
	Filename     string `json:"filename"`
}

// inline is what a dump shows of it, nil where that is nothing.
func (s source) inline() ([]byte, error) {
	if s.InlineBytes == "" {
		return []byte(s.InlineString), nil
	}
	raw, err := base64.StdEncoding.DecodeString(s.InlineBytes)
	if err != nil {
		return nil, fmt.Errorf("decoding inline bytes: %w", err)
	}
	return raw, nil
}

func (s source) certificates(parser *pki.Parser) ([]*pki.Certificate, error) {
	switch raw, err := s.inline(); {
	case err != nil:
		return nil, err
	case len(raw) > 0:
		return parser.Certificates(raw)
	case s.Filename != "":
		return nil, fmt.Errorf("the certificate is the file %q in the pod, which the dump does not show", s.Filename)
	}
	return nil, pki.ErrEmptyBundle
}

// crls are the lists of a validation context. An agent names its file of them, which
// Istio from 1.27 on mounts into every sidecar, empty where there is none (istio 1.30.3
// security/pkg/nodeagent/sds/sdsservice.go:314); Envoy shows what it read of it, and
// reads it again when it changes (envoy 1.27 source/common/secret/sds_api.h,
// resolveSecret and getDataSourceFilenames).
func (s source) crls(parser *pki.Parser) (*pki.CRLs, error) {
	switch raw, err := s.inline(); {
	case err != nil:
		return nil, err
	case len(raw) > 0:
		return parser.CRLs(raw), nil
	case s.Filename != "":
		return pki.UnknownCRLs(fmt.Sprintf("it is the file %q in the pod, which the dump does not show", s.Filename)), nil
	}
	return nil, nil
}

// ParseSecrets reads Envoy's config_dump?resource=dynamic_active_secrets, and a
// whole config dump as well. A secret that is warming is not loaded: it is named
// in Warming and nothing else of it is used.
func ParseSecrets(raw []byte, at time.Time) (*Loaded, error) {
	secrets, err := parseSecrets(raw, &pki.Parser{})
	if err != nil {
		return nil, err
	}
	return secrets.loaded(at, mounted{})
}

// secrets are a dump's, of which only those that are used are looked at closer.
type secrets struct {
	active  []secret
	warming []string
	parser  *pki.Parser
}

func parseSecrets(raw []byte, parser *pki.Parser) (secrets, error) {
	var dump struct {
		Configs []struct {
			secret
			Active  []secret `json:"dynamic_active_secrets"`
			Warming []secret `json:"dynamic_warming_secrets"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(raw, &dump); err != nil {
		return secrets{}, fmt.Errorf("parsing the config dump: %w", err)
	}
	all := secrets{parser: parser}
	for _, config := range dump.Configs {
		if config.Name != "" {
			all.active = append(all.active, config.secret)
		}
		all.active = append(all.active, config.Active...)
		for _, s := range config.Warming {
			all.warming = append(all.warming, s.Name)
		}
	}
	sort.Strings(all.warming)
	return all, nil
}

// loaded are the identities that the proxy has on each side, by the files that it uses.
func (s secrets) loaded(at time.Time, files mounted) (*Loaded, error) {
	loaded := &Loaded{At: at, Evidence: EvidenceConfigDump, Warming: s.warming}
	pairs := files.pairs()
	if agents := agentsPair(); !slices.Contains(pairs, agents) && s.has(agents.chain) && s.has(agents.roots) {
		pairs = append(pairs, agents) // something uses it all the same
	}
	for _, p := range pairs {
		identity, err := s.identity(p)
		if err != nil {
			return nil, err
		}
		loaded.Identities = append(loaded.Identities, identity)
	}
	return loaded, nil
}

func (s secrets) has(name string) bool {
	return slices.ContainsFunc(s.active, func(one secret) bool { return one.Name == name })
}

func (s secrets) identity(p pair) (identity Identity, err error) {
	for _, one := range s.active {
		var into *[]*pki.Certificate
		var updated *time.Time
		var certs []*pki.Certificate
		var domains []pki.Domain
		switch one.Name {
		case p.chain:
			into, updated = &identity.Chain, &identity.ChainUpdated
			certs, err = one.Secret.TLSCertificate.CertificateChain.certificates(s.parser)
			identity.Secret = one.Name
		case p.roots:
			into, updated = &identity.Roots, &identity.RootsUpdated
			certs, domains, err = one.Secret.ValidationContext.roots(s.parser)
		default:
			continue // a gateway's own credentials: not the mesh's trust
		}
		if err != nil {
			return identity, fmt.Errorf("secret %q: %w", one.Name, err)
		}
		if one.Name == p.roots {
			crls, err := one.Secret.ValidationContext.CRL.crls(s.parser)
			switch {
			case err != nil:
				return identity, fmt.Errorf("the CRL of secret %q: %w", one.Name, err)
			case identity.Roots != nil && identity.CRLs.Fingerprint() != crls.Fingerprint():
				return identity, fmt.Errorf("secret %q is active twice, and not with the same CRL", one.Name)
			}
			identity.CRLs = crls
		}
		// Envoy has a provider for each configuration of the SDS server (envoy
		// source/common/secret/secret_manager_impl.h, findOrCreate): one that an
		// EnvoyFilter writes otherwise makes a second of the same name.
		switch {
		case *into == nil:
			*into, *updated = certs, one.LastUpdated
			if one.Name == p.roots {
				identity.Domains = domains
			}
		case !same(*into, certs) || one.Name == p.roots && !slices.EqualFunc(identity.Domains, domains, sameDomain):
			return identity, fmt.Errorf("secret %q is active twice, and not with the same certificates", one.Name)
		case one.LastUpdated.After(*updated):
			*updated = one.LastUpdated
		}
	}
	switch {
	case identity.Chain == nil && identity.Roots == nil && p == agentsPair():
		return identity, ErrNoSecrets
	case identity.Chain == nil:
		return identity, fmt.Errorf("secret %q is not active: the proxy has no certificate of its own", p.chain)
	case identity.Roots == nil:
		return identity, fmt.Errorf("secret %q is not active: the proxy has a certificate and no roots", p.roots)
	}
	identity.SPIFFE = identity.Leaf().SPIFFE()
	return identity, nil
}

func same(a, b []*pki.Certificate) bool {
	return slices.EqualFunc(a, b, func(a, b *pki.Certificate) bool { return a.Equal(b) })
}

func sameDomain(a, b pki.Domain) bool { return a.Name == b.Name && same(a.Roots, b.Roots) }

// ParseCerts reads Envoy's /certs. It shows the leaf and the first CA of a
// bundle only (envoy issue 4661), so it proves which leaf the live contexts use
// and never which roots.
func ParseCerts(raw []byte) ([]Context, error) {
	type details struct {
		Serial string    `json:"serial_number"`
		From   time.Time `json:"valid_from"`
		Until  time.Time `json:"expiration_time"`
		SANs   []struct {
			URI string `json:"uri"`
		} `json:"subject_alt_names"`
	}
	var answer struct {
		Certificates []struct {
			CA    []details `json:"ca_cert"`
			Chain []details `json:"cert_chain"`
		} `json:"certificates"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("parsing /certs: %w", err)
	}
	var contexts []Context
	seen := map[Context]bool{}
	for _, c := range answer.Certificates {
		var context Context
		if len(c.Chain) > 0 {
			leaf := c.Chain[0]
			context.LeafSerial, context.LeafFrom, context.LeafUntil = normalSerial(leaf.Serial), leaf.From, leaf.Until
			for _, san := range leaf.SANs {
				if strings.HasPrefix(san.URI, "spiffe://") {
					context.SPIFFE = san.URI
					break
				}
			}
		}
		if len(c.CA) > 0 {
			ca := c.CA[0]
			context.CASerial, context.CAFrom, context.CAUntil = normalSerial(ca.Serial), ca.From, ca.Until
		}
		if context != (Context{}) && !seen[context] {
			seen[context] = true
			contexts = append(contexts, context)
		}
	}
	return contexts, nil
}

// normalSerial is a serial number in lower case without leading zeros: BoringSSL
// prints whole bytes, math/big does not.
func normalSerial(hex string) string {
	return strings.TrimLeft(strings.ToLower(strings.ReplaceAll(hex, ":", "")), "0")
}
