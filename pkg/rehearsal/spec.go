package rehearsal

import (
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Spec is a mesh to be.
type Spec struct {
	// CA is what cacerts holds at the start; Extra are roots beside its own that
	// were in the bundle already.
	CA    *pki.Authority
	Extra []*pki.Certificate
	// MultiRoot and XDSAgent are the two flags of a hot mesh.
	MultiRoot, XDSAgent bool
	// Release is istiod's and the proxies', by image tag.
	Release string
	// Replicas of istiod; Namespaces with so many proxies each.
	Replicas   int
	Namespaces []string
	Proxies    int
	// Workloads are proxies beside those, each with what sets it apart.
	Workloads []Workload
	// TTL of leaves.
	TTL time.Duration
	// Lag is how long a kubelet takes to bring a changed Secret to istiod's files.
	Lag time.Duration
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
	// Release and TTL are the mesh's where empty.
	Release string
	TTL     time.Duration
	// Cold proxies run without PROXY_CONFIG_XDS_AGENT in a mesh that has it.
	Cold bool
}

// BarePod is the Controller of pods that nobody replaces.
const BarePod = "Pod"
