package proxy

import (
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Evidence names where a fact about a proxy comes from, strongest first.
type Evidence string

const (
	// EvidenceConfigDump is config_dump?resource=dynamic_active_secrets: every
	// certificate of ROOTCA and the whole chain of the workload's own secret.
	EvidenceConfigDump Evidence = "config_dump"
	// EvidenceZtunnelDump is ztunnel's config_dump: chain and roots per identity.
	EvidenceZtunnelDump Evidence = "ztunnel_config_dump"
	// EvidenceCerts is /certs: serial numbers and dates of the leaf and of the
	// first CA of the bundle only (envoy issue 4661).
	EvidenceCerts Evidence = "certs"
	// EvidenceMetrics is the agent's 15020: the leaf's expiry only.
	EvidenceMetrics Evidence = "metrics"
)

// Loaded is what one live proxy uses for mesh mTLS at one moment.
type Loaded struct {
	// At is when it was read.
	At time.Time `json:"at"`
	// Evidence is the strongest source that answered.
	Evidence Evidence `json:"evidence"`
	// Identities are the workload identities the proxy serves: one for an Envoy,
	// one per service account on the node for a ztunnel. Empty means that the
	// proxy holds no mesh certificate at all (yet).
	Identities []Identity `json:"identities,omitempty"`
	// Warming names the secrets that are known but not usable yet.
	Warming []string `json:"warming,omitempty"`
	// Contexts are the live TLS contexts by /certs, where they were read: they
	// prove that Envoy's contexts use the leaf that the dump shows.
	Contexts []Context `json:"contexts,omitempty"`
	// ContextsError says why Contexts is missing.
	ContextsError string `json:"contextsError,omitempty"`
	// Info is the proxy's own word on its release, where it was asked for.
	Info Info `json:"info,omitzero"`
	// ControlPlane is how its own connection to the control plane is secured, where
	// that was asked for.
	ControlPlane *ControlPlaneTLS `json:"controlPlane,omitempty"`
}

// Identity is one certificate with its key and the roots its peers are judged by.
type Identity struct {
	// Secret is the SDS secret's name ("default" for an Envoy).
	Secret string `json:"secret,omitempty"`
	// SPIFFE is the leaf's URI SAN.
	SPIFFE string `json:"spiffe,omitempty"`
	// Chain is what the proxy presents, leaf first, exactly as it is sent: the
	// agent appends the roots of the CSR's answer to it.
	Chain []*pki.Certificate `json:"chain,omitempty"`
	// Roots is the trust bundle that the proxy judges its peers by, in order; all that are
	// in Domains, where each holds for the peers of one trust domain alone (SPIRE).
	Roots   []*pki.Certificate `json:"roots,omitempty"`
	Domains []pki.Domain       `json:"domains,omitempty"`
	// CRLs are the lists of revoked certificates that it judges its peers by besides, nil
	// where it has none. A ztunnel does not tell its own.
	CRLs *pki.CRLs `json:"crls,omitempty"`
	// ChainUpdated and RootsUpdated are when the proxy accepted them.
	ChainUpdated time.Time `json:"chainUpdated,omitzero"`
	RootsUpdated time.Time `json:"rootsUpdated,omitzero"`
	// State is ztunnel's own word where the identity is not usable, else empty.
	State string `json:"state,omitempty"`
}

// Leaf is the identity's own certificate, or nil.
func (i Identity) Leaf() *pki.Certificate {
	if len(i.Chain) == 0 {
		return nil
	}
	return i.Chain[0]
}

// Trusts are the roots by which it judges the peers of each of these trust domains: the
// same for all, where it has one bundle.
func (i Identity) Trusts(domains []string) [][]*pki.Certificate {
	if i.Domains == nil {
		return [][]*pki.Certificate{i.Roots}
	}
	all := make([][]*pki.Certificate, len(domains))
	for n, domain := range domains {
		all[n] = pki.RootsOf(i.Domains, domain)
	}
	return all
}

// Context is one live TLS context by Envoy's /certs.
type Context struct {
	// LeafSerial and CASerial are lower-case hexadecimal; CASerial is that of the
	// first CA of the bundle only.
	LeafSerial string    `json:"leafSerial,omitempty"`
	SPIFFE     string    `json:"spiffe,omitempty"`
	LeafFrom   time.Time `json:"leafFrom,omitzero"`
	LeafUntil  time.Time `json:"leafUntil,omitzero"`
	CASerial   string    `json:"caSerial,omitempty"`
	CAFrom     time.Time `json:"caFrom,omitzero"`
	CAUntil    time.Time `json:"caUntil,omitzero"`
}

// Upstream holds the counters of one endpoint by Envoy's /clusters. They only
// grow while the endpoint lives.
type Upstream struct {
	Cluster     string `json:"cluster"`
	Endpoint    string `json:"endpoint"`
	Connections uint64 `json:"cxTotal"`
	ConnectFail uint64 `json:"cxConnectFail"`
	Requests    uint64 `json:"rqTotal"`
	// Successes and Errors are counted for HTTP alone: both stay zero for TCP.
	Successes uint64 `json:"rqSuccess"`
	Errors    uint64 `json:"rqError"`
	Active    uint64 `json:"cxActive"`
}

// Served is what an istiod replica presents on its secure port, 15012.
type Served struct {
	At    time.Time          `json:"at"`
	Chain []*pki.Certificate `json:"chain"`
}

// Signed is an istiod replica's answer to a throw-away CSR: the signer it uses
// and the roots it hands out now. No stronger evidence exists from outside.
type Signed struct {
	At time.Time `json:"at"`
	// Chain is the leaf and what stands between it and the root bundle.
	Chain []*pki.Certificate `json:"chain"`
	// Roots is the root bundle, the last element of the answer (istio 1.30.3
	// security/pkg/server/ca/server.go:150).
	Roots []*pki.Certificate `json:"roots"`
}
