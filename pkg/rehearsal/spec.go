package rehearsal

import (
	"math/rand/v2"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Spec is a mesh to be.
type Spec struct {
	// CA is what the mesh signs with at the start; Extra are roots beside its own that
	// were in the bundle already.
	CA    *pki.Authority
	Extra []*pki.Certificate
	// CRL is what ca-crl.pem of the start holds; nil where there is none.
	CRL []byte
	// Ahead are such roots that stand before its own.
	Ahead []*pki.Certificate
	// Source is where the CA comes from: mesh.CAPlugged where empty, mesh.CAPluggedTLS
	// or mesh.CASelfSigned, whose CA must be a root.
	Source mesh.CAKind
	// MultiRoot and XDSAgent are the two flags of a hot mesh.
	MultiRoot, XDSAgent bool
	// TrustDomain is that of the mesh config, "" the default.
	TrustDomain string
	// Release is istiod's and the proxies', by image tag.
	Release string
	// Env are more settings of the default revision's istiods.
	Env map[string]string
	// DefaultName and Deployment name the first control plane: "default" and "istiod"
	// where empty.
	DefaultName, Deployment string
	// Replicas of istiod; Namespaces with so many proxies each.
	Replicas   int
	Namespaces []string
	Proxies    int
	// Revisions are control planes beside the default one.
	Revisions []Revision
	// Workloads are proxies beside those, each with what sets it apart.
	Workloads []Workload
	// SystemTrust has kube-system get the trust ConfigMap too.
	SystemTrust bool
	// MeshCA are roots of meshConfig.caCertificates.
	MeshCA []*pki.Certificate
	// VMs are names of virtual machines in the first namespace.
	VMs []string
	// Unregistered are more of them, that no WorkloadEntry names.
	Unregistered []string
	// TTL of leaves.
	TTL time.Duration
	// Lag is how long a kubelet takes to bring a changed Secret to istiod's files.
	Lag time.Duration
	// FileLag is how long it takes to bring a changed trust ConfigMap to agents' files.
	FileLag time.Duration
	// Spread is over how long the agents that were pushed to ask for certificates.
	// Random draws from it, and the renewals' jitter; nil draws nothing.
	Spread time.Duration
	Random *rand.Rand
}

// Revision is a control plane beside the default one.
type Revision struct {
	Name      string
	Release   string // Spec's where empty
	Replicas  int
	MultiRoot bool
	// Env are more settings of its istiods.
	Env map[string]string
}

// Workload is a controller and the proxies of its pods.
type Workload struct {
	Namespace, Name string
	// Kind is what its proxies do in the mesh; "" is a sidecar.
	Kind mesh.ProxyKind
	// Controller is the kind of what would replace a pod: Deployment where empty,
	// StatefulSet, DaemonSet, or BarePod.
	Controller string
	Proxies    int
	// Pods are the names of the first of them; the others are named as by their
	// controller.
	Pods []string
	// Revision is its control plane's, the default one's where empty.
	Revision string
	// Release and TTL are the mesh's where empty.
	Release string
	TTL     time.Duration
	// Untagged is an image that names no release: nobody can tell it who is not told by
	// the proxy.
	Untagged bool
	// Native has the agent run as an init container that stays.
	Native bool
	// Cold proxies run without PROXY_CONFIG_XDS_AGENT in a mesh that has it.
	Cold bool
	// Env are more settings of its agents.
	Env map[string]string
}

// BarePod is the Controller of pods that nobody replaces.
const BarePod = "Pod"
