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

func (s source) certificates(parser *pki.Parser) ([]*pki.Certificate, error) {
	switch {
	case s.InlineBytes != "":
		raw, err := base64.StdEncoding.DecodeString(s.InlineBytes)
		if err != nil {
			return nil, fmt.Errorf("decoding inline bytes: %w", err)
		}
		return parser.Certificates(raw)
	case s.InlineString != "":
		return parser.Certificates([]byte(s.InlineString))
	case s.Filename != "":
		return nil, fmt.Errorf("the certificate is the file %q in the pod, which the dump does not show", s.Filename)
	}
	return nil, pki.ErrEmptyBundle
}

// ParseSecrets reads Envoy's config_dump?resource=dynamic_active_secrets, and a
// whole config dump as well. A secret that is warming is not loaded: it is named
// in Warming and nothing else of it is used.
func ParseSecrets(raw []byte, at time.Time) (*Loaded, error) {
	return parseSecrets(raw, at, &pki.Parser{})
}

func parseSecrets(raw []byte, at time.Time, parser *pki.Parser) (*Loaded, error) {
	var dump struct {
		Configs []struct {
			secret
			Active  []secret `json:"dynamic_active_secrets"`
			Warming []secret `json:"dynamic_warming_secrets"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(raw, &dump); err != nil {
		return nil, fmt.Errorf("parsing the config dump: %w", err)
	}
	var active []secret
	loaded := &Loaded{At: at, Evidence: EvidenceConfigDump}
	for _, config := range dump.Configs {
		if config.Name != "" {
			active = append(active, config.secret)
		}
		active = append(active, config.Active...)
		for _, s := range config.Warming {
			loaded.Warming = append(loaded.Warming, s.Name)
		}
	}
	sort.Strings(loaded.Warming)
	var identity Identity
	for _, s := range active {
		var into *[]*pki.Certificate
		var updated *time.Time
		var certs []*pki.Certificate
		var domains []pki.Domain
		var err error
		switch s.Name {
		case workloadSecret:
			into, updated = &identity.Chain, &identity.ChainUpdated
			certs, err = s.Secret.TLSCertificate.CertificateChain.certificates(parser)
			identity.Secret = s.Name
		case rootSecret:
			into, updated = &identity.Roots, &identity.RootsUpdated
			certs, domains, err = s.Secret.ValidationContext.roots(parser)
		default:
			continue // a gateway's own credentials: not the mesh's trust
		}
		if err != nil {
			return nil, fmt.Errorf("secret %q: %w", s.Name, err)
		}
		// Envoy has a provider for each configuration of the SDS server (envoy
		// source/common/secret/secret_manager_impl.h, findOrCreate): one that an
		// EnvoyFilter writes otherwise makes a second of the same name.
		switch {
		case *into == nil:
			*into, *updated = certs, s.LastUpdated
			if s.Name == rootSecret {
				identity.Domains = domains
			}
		case !same(*into, certs) || s.Name == rootSecret && !slices.EqualFunc(identity.Domains, domains, sameDomain):
			return nil, fmt.Errorf("secret %q is active twice, and not with the same certificates", s.Name)
		case s.LastUpdated.After(*updated):
			*updated = s.LastUpdated
		}
	}
	switch {
	case identity.Chain == nil && identity.Roots == nil:
		return nil, ErrNoSecrets
	case identity.Chain == nil:
		return nil, fmt.Errorf("secret %q is not active: the proxy has roots and no certificate of its own", workloadSecret)
	case identity.Roots == nil:
		return nil, fmt.Errorf("secret %q is not active: the proxy has a certificate and no roots", rootSecret)
	}
	identity.SPIFFE = identity.Leaf().SPIFFE()
	loaded.Identities = []Identity{identity}
	return loaded, nil
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
