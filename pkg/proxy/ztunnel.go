package proxy

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// ParseZtunnel reads a ztunnel's /config_dump: chain and roots of every identity
// on its node (ztunnel 1.30.3 src/admin.rs:73). Before 1.24.6 and 1.25.3 a dump
// has no rootCerts: the one root that ztunnel trusts is the chain's last element.
func ParseZtunnel(raw []byte, at time.Time) (*Loaded, error) {
	return parseZtunnel(raw, at, &pki.Parser{})
}

func parseZtunnel(raw []byte, at time.Time, parser *pki.Parser) (*Loaded, error) {
	type cert struct {
		PEM string `json:"pem"` // base64 of PEM
	}
	var dump struct {
		Certificates []struct {
			Identity string          `json:"identity"`
			State    json.RawMessage `json:"state"`
			Chain    []cert          `json:"certChain"`
			Roots    []cert          `json:"rootCerts"`
		} `json:"certificates"`
	}
	if err := json.Unmarshal(raw, &dump); err != nil {
		return nil, fmt.Errorf("parsing the ztunnel's dump: %w", err)
	}
	if dump.Certificates == nil {
		return nil, fmt.Errorf("parsing the ztunnel's dump: %w", ErrNoSecrets)
	}
	certs := func(list []cert) ([]*pki.Certificate, error) {
		var all []*pki.Certificate
		for _, c := range list {
			text, err := base64.StdEncoding.DecodeString(c.PEM)
			if err != nil {
				return nil, fmt.Errorf("decoding a certificate: %w", err)
			}
			certs, err := parser.Certificates(text)
			if err != nil {
				return nil, err
			}
			all = append(all, certs...)
		}
		return all, nil
	}
	loaded := &Loaded{At: at, Evidence: EvidenceZtunnelDump}
	for _, c := range dump.Certificates {
		identity := Identity{SPIFFE: c.Identity}
		var state string
		if json.Unmarshal(c.State, &state) != nil {
			state = string(c.State) // {"Unavailable":"..."}
		}
		var err error
		if identity.Chain, err = certs(c.Chain); err != nil {
			return nil, fmt.Errorf("chain of %s: %w", c.Identity, err)
		}
		if identity.Roots, err = certs(c.Roots); err != nil {
			return nil, fmt.Errorf("roots of %s: %w", c.Identity, err)
		}
		if len(identity.Roots) == 0 && len(identity.Chain) > 1 {
			last := len(identity.Chain) - 1
			identity.Roots, identity.Chain = slices.Clone(identity.Chain[last:]), identity.Chain[:last]
		}
		if state != "Available" {
			identity.State = state
		}
		loaded.Identities = append(loaded.Identities, identity)
	}
	return loaded, nil
}
