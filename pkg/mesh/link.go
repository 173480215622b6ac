package mesh

import (
	"cmp"
	"strings"
)

// Files by which an agent secures its own connection to istiod (istio 1.30.3
// pkg/istio-agent/agent.go:662-681, pkg/security/security.go).
const (
	agentRoot  = "./var/run/secrets/istio/root-cert.pem"
	agentToken = "./var/run/secrets/tokens/istio-token"
)

// Link is how a proxy is secured towards the control plane: by whom, with which
// files, and which name it expects there.
type Link struct {
	// Via is "envoy" where Envoy itself connects, "agent" where its agent does, and
	// "" where it is not known.
	Via     string `json:"via,omitempty"`
	Address string `json:"address,omitempty"`
	// Secured is false where there is no TLS at all.
	Secured bool `json:"secured"`
	// Credential is the certificate's path, or the token's.
	Credential string `json:"credential,omitempty"`
	Root       string `json:"root,omitempty"`
	// Names are those of which the control plane must have one, comma-separated.
	Names string `json:"names,omitempty"`
}

// LinkOf tells it from the proxy's bootstrap, and for what the agent does from the
// agent's settings. Without a bootstrap nothing is known.
func LinkOf(p Proxy) Link {
	if p.Loaded == nil || p.Loaded.ControlPlane == nil {
		return Link{}
	}
	tls := p.Loaded.ControlPlane
	if !tls.Agent {
		return Link{Via: "envoy", Address: tls.Address, Secured: tls.TLS, Credential: tls.CertificatePath, Root: tls.RootPath, Names: strings.Join(tls.SANs, ",")}
	}
	// The agent's defaults; a mesh config's discoveryAddress stands in CA_ADDR too.
	address := cmp.Or(p.CAAddr, "istiod.istio-system.svc:15012")
	name, _, _ := strings.Cut(address, ":")
	link := Link{Via: "agent", Address: address, Secured: true, Credential: agentToken, Root: agentRoot, Names: name}
	if p.ProvCert != "" {
		link.Credential, link.Root = p.ProvCert+"/cert-chain.pem", p.ProvCert+"/root-cert.pem"
	}
	return link
}
