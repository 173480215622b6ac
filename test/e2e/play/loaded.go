package main

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
)

// loaded is what a proxy judges and is judged by, read without the product.
type loaded struct {
	issuer string   // of its leaf
	roots  []string // subjects
}

// envoys reads every proxy of the workloads through its agent.
func (g *game) envoys() map[string]loaded {
	all := map[string]loaded{}
	for _, ns := range namespaces {
		for line := range strings.Lines(g.kubectl("-n", ns, "get", "pods", "--field-selector", "status.phase=Running", "-o", `jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}`)) {
			name := strings.TrimSpace(line)
			o := g.run("", "kubectl", "-n", ns, "exec", name, "-c", "istio-proxy", "--", "pilot-agent", "request", "GET", "config_dump?resource=dynamic_active_secrets")
			all[ns+"/"+name] = parse(o.out)
		}
	}
	return all
}

func parse(dump string) (l loaded) {
	// the agent writes log lines before the JSON
	i := strings.IndexByte(dump, '{')
	if i < 0 {
		return l
	}
	type inline struct {
		Bytes string `json:"inline_bytes"`
	}
	var d struct {
		Configs []struct {
			Name   string
			Secret struct {
				TLS struct {
					Chain inline `json:"certificate_chain"`
				} `json:"tls_certificate"`
				Validation struct {
					CA inline `json:"trusted_ca"`
				} `json:"validation_context"`
			}
		}
	}
	if json.Unmarshal([]byte(dump[i:]), &d) != nil {
		return l
	}
	for _, c := range d.Configs {
		switch c.Name {
		case "default":
			if chain := certificates(c.Secret.TLS.Chain.Bytes); len(chain) > 0 {
				l.issuer = chain[0].Issuer.CommonName
			}
		case "ROOTCA":
			for _, root := range certificates(c.Secret.Validation.CA.Bytes) {
				l.roots = append(l.roots, root.Subject.CommonName)
			}
		}
	}
	return l
}

func certificates(inline string) (all []*x509.Certificate) {
	text, _ := base64.StdEncoding.DecodeString(inline)
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return all
		}
		if c, err := x509.ParseCertificate(b.Bytes); err == nil {
			all = append(all, c)
		}
	}
}

// every reports whether this holds for all six proxies.
func (g *game) every(holds func(loaded) bool) bool {
	all := g.envoys()
	for _, l := range all {
		if !holds(l) {
			return false
		}
	}
	return len(all) == 2*len(namespaces)
}
