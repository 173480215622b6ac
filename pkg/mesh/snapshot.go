package mesh

import (
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// APIVersion and Kind identify a Snapshot's JSON.
const (
	APIVersion = "meshca.io/v1alpha1"
	Kind       = "Snapshot"
)

// Snapshot is a mesh at one moment.
type Snapshot struct {
	TakenAt time.Time `json:"takenAt"`
	// ClockSkew is how far this machine's clock is ahead of the API server's
	// (its Date header), rounded to seconds. What check says of certificates' dates uses
	// TakenAt, and names the difference; plans and gates use ClusterTime, which is nearer to
	// the clocks of those that judge certificates, and that of the cluster's own stamps.
	ClockSkew     Duration       `json:"clockSkew,omitempty"`
	Cluster       Cluster        `json:"cluster"`
	TrustDomain   string         `json:"trustDomain"`
	ControlPlanes []ControlPlane `json:"controlPlanes,omitempty"`
	// LeftOut are the istiods, as namespace/name, that were not looked at because another
	// revision was asked for.
	LeftOut []string `json:"leftOut,omitempty"`
	// Namespaces are those that the mesh's discovery selectors include.
	Namespaces []Namespace `json:"namespaces,omitempty"`
	// ClusterTrustBundle replaces the trust ConfigMaps where istiod writes one.
	ClusterTrustBundle *TrustAnchor `json:"clusterTrustBundle,omitempty"`
	// MeshCACertificates are the extra roots of meshConfig.caCertificates.
	MeshCACertificates []*pki.Certificate `json:"meshCACertificates,omitempty"`
	// MeshCAURLs are those of them that istiods fetch from elsewhere (spiffeBundleUrl): which
	// roots stand there is not known. None where no istiod hands any of them out.
	MeshCAURLs []string  `json:"meshCAURLs,omitempty"`
	Webhooks   []Webhook `json:"webhooks,omitempty"`
	Proxies    []Proxy   `json:"proxies,omitempty"`
	// VMs are WorkloadEntries: proxies that no pod list shows.
	VMs []VM `json:"vms,omitempty"`
	// Remotes are other clusters of the same mesh (Secrets labelled
	// istio/multiCluster, remote istiods, east-west gateways, meshNetworks).
	Remotes []Remote `json:"remotes,omitempty"`
	Nodes   []Node   `json:"nodes,omitempty"`
	// Uninjected lists meshed namespaces' pods without a proxy.
	Uninjected []Uninjected `json:"uninjected,omitempty"`
	// Gaps are the parts that could not be read. A gate that needs one is closed.
	Gaps []Gap `json:"gaps,omitempty"`
	// Beside are parts that could not be read and that no gate needs: policies on
	// mutual TLS, cert-manager's objects. Checks that rest on them do not pass.
	Beside []Gap `json:"beside,omitempty"`
	// LeftoverCASecret is an istio-ca-secret that no istiod signs with.
	LeftoverCASecret *CASource `json:"leftoverCASecret,omitempty"`
	// TrustMounts are containers that read the trust ConfigMap themselves.
	TrustMounts []TrustMount `json:"trustMounts,omitempty"`
	// MTLS is what decides whether mutual TLS is used.
	MTLS MTLS `json:"mtls,omitzero"`
	// ManagedCAs are cert-manager's Certificates that write a CA Secret.
	ManagedCAs []ManagedCA `json:"managedCAs,omitempty"`
	// WorkloadSecrets and Components are those of a mesh with a Citadel.
	WorkloadSecrets []WorkloadSecret `json:"workloadSecrets,omitempty"`
	Components      []Component      `json:"components,omitempty"`
}

// ClusterTime is TakenAt on the API server's clock: what its objects' own times are
// compared with.
func (s *Snapshot) ClusterTime() time.Time { return s.TakenAt.Add(-time.Duration(s.ClockSkew)) }

// Cluster says where the Snapshot was taken.
type Cluster struct {
	Context string `json:"context,omitempty"`
	Server  string `json:"server,omitempty"`
	// Version is the API server's gitVersion.
	Version string `json:"version,omitempty"`
	// UID is that of the namespace kube-system: the cluster's identity.
	UID string `json:"uid,omitempty"`
}

// ControlPlane is one revision of istiod (or one Citadel).
type ControlPlane struct {
	Namespace string `json:"namespace"`
	// Name is the Deployment's.
	Name     string `json:"name"`
	Revision string `json:"revision"`
	// Tags are other names of the revision (istioctl tag).
	Tags []string `json:"tags,omitempty"`
	// Version is the release by image tag, label or istiod's own /version,
	// "" where none says it.
	Version string `json:"version,omitempty"`
	Image   string `json:"image,omitempty"`
	// Flags are the settings that decide how a new root spreads, by value.
	Flags Flags `json:"flags"`
	// RootRenewal is its own of its root, where it signs itself; nil where its release has
	// none, or its CA is another.
	RootRenewal *RootRenewal `json:"rootRenewal,omitempty"`
	// Desired and Updated are the Deployment's replicas. It is Settled once the controller
	// has observed its last generation and all replicas are of that.
	Desired int32 `json:"desired"`
	Updated int32 `json:"updated"`
	Settled bool  `json:"settled"`
	// Paused is a Deployment whose template may change without a rollout.
	Paused bool `json:"paused,omitempty"`
	// Controller is the kind of what owns its pods where that is no Deployment, "Pod"
	// where nothing does.
	Controller string `json:"controller,omitempty"`
	// Replicas are the running pods.
	Replicas []Istiod `json:"replicas,omitempty"`
	CA       CASource `json:"ca"`
	// ClusterID is what the CSR's metadata must carry.
	ClusterID string `json:"clusterID,omitempty"`
	// Elsewhere says what shows that its istiod is in no pod of this cluster, but of
	// another, or its provider's; "" where nothing does.
	Elsewhere string `json:"elsewhere,omitempty"`
	// OwnTLS says by what its istiods have a serving certificate that their CA has not
	// made: what they serve then says nothing of what they sign with.
	OwnTLS string `json:"ownTLS,omitempty"`

	selector   *metav1.LabelSelector
	container  *corev1.Container
	shared     string // SHARED_MESH_CONFIG
	meshFile   meshFile
	audiences  []string          // whom a token may be for that it takes, nil for tokenAudience
	byHand     map[string]string // by kind of webhook the setting that has it write into none
	citadel    bool
	selfSigned bool
	serving    string    // the Secret at servingFiles, where it need not be there
	caFrom     string    // where its CA's files come from, where that is not cacerts
	changed    time.Time // when a ConfigMap was last written that settings come from
}

// Flags are istiod's settings by their effective value: environment, mesh
// config, then the release's default.
type Flags struct {
	// MultiRoot is ISTIO_MULTIROOT_MESH.
	MultiRoot bool `json:"multiRoot"`
	// AutoReload says whether plugged certificates are watched
	// (AUTO_RELOAD_PLUGIN_CERTS up to 1.18, always on from 1.19).
	AutoReload bool `json:"autoReload"`
	// CAServer is ENABLE_CA_SERVER.
	CAServer bool `json:"caServer"`
	// ExternalCA is EXTERNAL_CA, CertProvider is PILOT_CERT_PROVIDER.
	ExternalCA   string `json:"externalCA,omitempty"`
	CertProvider string `json:"certProvider,omitempty"`
	// RootCADir is ROOT_CA_DIR, TrustConfigMap PILOT_CA_CERT_CONFIGMAP.
	RootCADir      string `json:"rootCADir,omitempty"`
	TrustConfigMap string `json:"trustConfigMap"`
	// CRLConfigMap is PILOT_CRL_CONFIGMAP, "" where the release knows no CRL of its CA.
	CRLConfigMap string `json:"crlConfigMap,omitempty"`
	// ClusterTrustBundle is ENABLE_CLUSTER_TRUST_BUNDLE_API.
	ClusterTrustBundle bool `json:"clusterTrustBundle,omitempty"`
	// SelfSignedInCACerts is USE_CACERTS_FOR_SELF_SIGNED_CA.
	SelfSignedInCACerts bool `json:"selfSignedInCACerts,omitempty"`
	// SomeNamespaces: it publishes in some alone that are not told by its mesh config:
	// ISTIO_WATCH_NAMESPACE, or the member roll of OpenShift Service Mesh 2.
	SomeNamespaces bool `json:"someNamespaces,omitempty"`
	// MaxWorkloadTTL and DefaultWorkloadTTL are istiod's own limits.
	MaxWorkloadTTL     Duration `json:"maxWorkloadTTL,omitempty"`
	DefaultWorkloadTTL Duration `json:"defaultWorkloadTTL,omitempty"`
}

// Istiod is one replica.
type Istiod struct {
	Pod     string `json:"pod"`
	UID     string `json:"uid"`
	IP      string `json:"ip,omitempty"`
	Node    string `json:"node,omitempty"`
	Version string `json:"version,omitempty"`
	Image   string `json:"image,omitempty"`
	// Started is when its process was, so that it has read its files.
	Started time.Time `json:"started,omitzero"`
	Ready   bool      `json:"ready"`
	// Terminating: it signs until it is gone.
	Terminating bool `json:"terminating,omitempty"`
	// Served is what it presents on 15012; Signed its answer to a throw-away CSR,
	// where one was asked for.
	Served      *proxy.Served `json:"served,omitempty"`
	ServedError string        `json:"servedError,omitempty"`
	Signed      *proxy.Signed `json:"signed,omitempty"`
	SignedError string        `json:"signedError,omitempty"`
	// ProofForbidden is true where no request could be made for want of permission.
	ProofForbidden bool `json:"proofForbidden,omitempty"`
	// ProofRefused is true where it took the request's token for nobody's.
	ProofRefused bool `json:"proofRefused,omitempty"`
	// Clients are the proxies connected to it, where it was asked: not nil then, or
	// ClientsError says why they are not known.
	Clients      []proxy.Client `json:"clients,omitzero"`
	ClientsError string         `json:"clientsError,omitempty"`

	created time.Time
}

// CAKind is where a control plane's CA comes from.
type CAKind string

const (
	CASelfSigned  CAKind = "self-signed"       // istio-ca-secret
	CAPlugged     CAKind = "cacerts"           // cacerts, Opaque layout
	CAPluggedTLS  CAKind = "cacerts-tls"       // cacerts, kubernetes.io/tls layout
	CARA          CAKind = "kubernetes-signer" // EXTERNAL_CA=ISTIOD_RA_KUBERNETES_API
	CAIstioCSR    CAKind = "istio-csr"         // ENABLE_CA_SERVER=false
	CASPIRE       CAKind = "spire"             // proxies get leaves from a SPIRE agent
	CACitadel     CAKind = "citadel"           // Istio 1.0 to 1.4
	CAUnsupported CAKind = "unsupported"       // a managed control plane
	CAUnknown     CAKind = "unknown"
)

// CASource is what the CA of a control plane is made from, by istiod's own
// precedence (istio 1.30.3 pilot/pkg/bootstrap/istio_ca.go, createIstioCA), without its key.
type CASource struct {
	Kind CAKind `json:"kind"`
	// Why says in one sentence how Kind was decided.
	Why       string `json:"why,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Secret    string `json:"secret,omitempty"`
	// Exists is true where the Secret was read.
	Exists          bool      `json:"exists"`
	Type            string    `json:"type,omitempty"`
	UID             string    `json:"uid,omitempty"`
	ResourceVersion string    `json:"resourceVersion,omitempty"`
	Created         time.Time `json:"created,omitzero"`
	Immutable       bool      `json:"immutable,omitempty"`
	// Keys are the names of the Secret's entries.
	Keys []string `json:"keys,omitempty"`
	// Owners name the controllers that would write it back: Argo CD, Flux,
	// External Secrets, cert-manager.
	Owners []string `json:"owners,omitempty"`
	// Cert is the signing certificate, Chain the file behind it, Root the bundle.
	// The bytes are kept because istiod compares bytes.
	Cert  pki.Bundle `json:"cert,omitzero"`
	Chain pki.Bundle `json:"chain,omitzero"`
	Root  pki.Bundle `json:"root,omitzero"`
	// HasKey, KeyMatches and KeyAlgorithm are all that is said of the key.
	HasKey       bool   `json:"hasKey,omitempty"`
	KeyMatches   bool   `json:"keyMatches,omitempty"`
	KeyAlgorithm string `json:"keyAlgorithm,omitempty"`
	// HasCRL is true where ca-crl.pem is present.
	HasCRL bool `json:"hasCRL,omitempty"`
	// Unread is a Secret beside, of the layout of kubernetes.io/tls, which this istiod does
	// not read and one of 1.14.2 or later takes its CA from.
	Unread string `json:"unread,omitempty"`
	// Error says why the Secret could not be read or parsed.
	Error string `json:"error,omitempty"`
	// Findings are the linter's, made where the key could be seen.
	Findings []pki.Finding `json:"findings,omitempty"`
}

// TrustAnchor is a published bundle: a trust ConfigMap or a ClusterTrustBundle.
type TrustAnchor struct {
	Name            string     `json:"name"`
	ResourceVersion string     `json:"resourceVersion,omitempty"`
	Immutable       bool       `json:"immutable,omitempty"`
	Bundle          pki.Bundle `json:"bundle,omitzero"`
	Error           string     `json:"error,omitempty"`
}

// Namespace is one namespace that istiod serves.
type Namespace struct {
	Name string `json:"name"`
	// Revision is the injecting revision, "" where injection is off.
	Revision string `json:"revision,omitempty"`
	Ambient  bool   `json:"ambient,omitempty"`
	// Terminating namespaces get no ConfigMap any more.
	Terminating bool `json:"terminating,omitempty"`
	// Trust is the root ConfigMap; nil where there is none.
	Trust *TrustAnchor `json:"trust,omitempty"`
	// CRL is the ConfigMap of a CRL; nil where there is none, or none was looked for.
	CRL *CRLMap `json:"crl,omitempty"`

	labels map[string]string
}

// Webhook is one webhook entry of a Mutating- or ValidatingWebhookConfiguration
// that calls an istiod.
type Webhook struct {
	// Kind is MutatingWebhookConfiguration or ValidatingWebhookConfiguration.
	Kind     string `json:"kind"`
	Config   string `json:"config"`
	Name     string `json:"name"`
	Revision string `json:"revision,omitempty"`
	// Tag is the revision tag that the configuration stands for.
	Tag string `json:"tag,omitempty"`
	// Service is namespace/name of what is called, "" where it is called by URL.
	Service  string     `json:"service,omitempty"`
	CABundle pki.Bundle `json:"caBundle,omitzero"`
	Error    string     `json:"error,omitempty"`
	// Blank is true where nobody has written a caBundle: the API server then asks its own
	// roots (k8s.io/api/admissionregistration/v1, WebhookClientConfig).
	Blank bool `json:"blank,omitempty"`
	// Fatal is true for failurePolicy Fail.
	Fatal bool `json:"fatal,omitempty"`
	// ByHand is why no istiod writes its caBundle, a setting or a label that is missing, so
	// that somebody else has to; "" where one does.
	ByHand string `json:"byHand,omitempty"`
}

// ProxyKind is what a proxy does in the mesh.
type ProxyKind string

const (
	Sidecar  ProxyKind = "sidecar"
	Gateway  ProxyKind = "gateway"
	Waypoint ProxyKind = "waypoint"
	Ztunnel  ProxyKind = "ztunnel"
)

// Reach is how a proxy gets a new root or leaf.
type Reach string

const (
	// ReachPush: PCDS; a bundle change reaches it in seconds and re-issues its leaf.
	ReachPush Reach = "push"
	// ReachRenewal: with its next leaf, by its own TTL.
	ReachRenewal Reach = "renewal"
	// ReachRestart: only a new pod has it for certain.
	ReachRestart Reach = "restart"
	// ReachElsewhere: not from istiod at all (files, SPIRE).
	ReachElsewhere Reach = "elsewhere"
	// ReachUnknown closes every gate.
	ReachUnknown Reach = "unknown"
)

// Unread are all parts that could not be read.
func (s *Snapshot) Unread() []Gap { return slices.Concat(s.Gaps, s.Beside) }

// Proxy is one live pod that takes part in the mesh.
type Proxy struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       string    `json:"uid"`
	Node      string    `json:"node,omitempty"`
	IP        string    `json:"ip,omitempty"`
	Kind      ProxyKind `json:"kind"`
	// Native is true for a sidecar that runs as an init container.
	Native bool `json:"native,omitempty"`
	// Opaque is true for what has a certificate of the mesh and is neither an Envoy nor
	// a ztunnel: nobody here can ask it what it has loaded.
	Opaque bool `json:"opaque,omitempty"`
	// Workload is the controller that would replace the pod; Kind "" is a bare pod.
	Workload       Workload          `json:"workload"`
	Labels         map[string]string `json:"labels,omitempty"`
	ServiceAccount string            `json:"serviceAccount,omitempty"`
	Revision       string            `json:"revision,omitempty"`
	// Version is the proxy's release, "" where nothing says it; VersionFrom says
	// what did: image tag, label, metrics.
	Version     string `json:"version,omitempty"`
	VersionFrom string `json:"versionFrom,omitempty"`
	Image       string `json:"image,omitempty"`
	Phase       string `json:"phase,omitempty"`
	Ready       bool   `json:"ready"`
	Terminating bool   `json:"terminating,omitempty"`
	// Starting: its agent has not run yet, so that it trusts and presents nothing.
	Starting bool `json:"starting,omitempty"`
	// Quit: it has run, has ended, and is not started again, as a sidecar of a Job whose
	// pod goes on without it. It trusts and presents nothing either.
	Quit    bool      `json:"quit,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Started time.Time `json:"started,omitzero"`
	// SecretTTL is the lifetime its leaf is asked for; GraceRatio the share of it
	// that is left when it renews (SECRET_GRACE_PERIOD_RATIO), GraceJitter by how much
	// more or less of it at random (SECRET_GRACE_PERIOD_RATIO_JITTER).
	SecretTTL   Duration `json:"secretTTL,omitempty"`
	GraceRatio  float64  `json:"graceRatio,omitempty"`
	GraceJitter float64  `json:"graceJitter,omitempty"`
	AdminPort   int      `json:"adminPort,omitempty"`
	StatusPort  int      `json:"statusPort,omitempty"`
	// XDSAgent is PROXY_CONFIG_XDS_AGENT by value; CAProvider, CAAddr, OutputCerts
	// and FileMounted are what takes the proxy off istiod's CSR path.
	XDSAgent    bool   `json:"xdsAgent,omitempty"`
	CAProvider  string `json:"caProvider,omitempty"`
	CAAddr      string `json:"caAddr,omitempty"`
	OutputCerts string `json:"outputCerts,omitempty"`
	ProvCert    string `json:"provCert,omitempty"`
	FileMounted bool   `json:"fileMounted,omitempty"`
	SPIRE       bool   `json:"spire,omitempty"`
	GRPCAgent   bool   `json:"grpcAgent,omitempty"`
	// Unsaid names those of its settings whose values are not known, as they come from a
	// Secret, or were written since it started. Then how a new root gets there is not known.
	Unsaid string `json:"unsaid,omitempty"`
	// ReadsCRL: a ztunnel that is given a file of CRLs.
	ReadsCRL bool `json:"readsCRL,omitempty"`
	// RootsFrom is the ConfigMap, or the ClusterTrustBundle, by which its agent knows
	// istiod; "" where it has another volume there, or none.
	RootsFrom string `json:"rootsFrom,omitempty"`
	// OwnRoots is a file by which its agent knows istiod instead, and that no istiod writes
	// (CA_ROOT_CA, XDS_ROOT_CA).
	OwnRoots string `json:"ownRoots,omitempty"`
	// Reach and ReachWhy: see ReachOf.
	Reach    Reach  `json:"reach"`
	ReachWhy string `json:"reachWhy,omitempty"`
	// Loaded is what it runs with; Error says why that is not known. Exactly one
	// of them is set, unless proxies were not read at all.
	Loaded *proxy.Loaded `json:"loaded,omitempty"`
	Error  string        `json:"error,omitempty"`
	// Upstreams are its traffic counters, where they were asked for.
	Upstreams []proxy.Upstream `json:"upstreams,omitempty"`
}

// Pod names the pod that it runs in.
func (p Proxy) Pod() proxy.Pod { return proxy.Pod{Namespace: p.Namespace, Name: p.Name} }

// Ref is namespace/name.
func (p Proxy) Ref() string { return p.Namespace + "/" + p.Name }

// Workload names a controller.
type Workload struct {
	Kind string `json:"kind,omitempty"`
	Name string `json:"name,omitempty"`
}

// VM is a WorkloadEntry.
type VM struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Address   string `json:"address,omitempty"`
	Connected bool   `json:"connected,omitempty"`
	// Unregistered is one that no entry names: istiod says that it is connected.
	Unregistered bool `json:"unregistered,omitempty"`
	// Plain is an entry to whose machine nobody speaks mutual TLS, and that has not
	// registered itself: as a rule one without a proxy.
	Plain bool `json:"plain,omitempty"`
}

// Remote is a sign of another cluster in the same mesh.
type Remote struct {
	// Kind is "remote-secret", "remote-istiod", "east-west-gateway" or "mesh-networks".
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Node is a machine that runs proxies: its kubelet's refresh bounds how long a
// file may be stale.
type Node struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	// LastReady is the last heartbeat or transition that vouches for Ready.
	LastReady time.Time `json:"lastReady,omitzero"`
}

// Uninjected is a pod in a meshed namespace that has no proxy, or a job's.
type Uninjected struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Why       string `json:"why,omitempty"`
}

// Gap is a part that could not be read.
type Gap struct {
	// Part is what is missing, in the operator's words: "proxies of namespace a".
	Part string `json:"part"`
	// Verb and Resource name the permission that is missing, where it is one.
	Verb     string `json:"verb,omitempty"`
	Resource string `json:"resource,omitempty"`
	// Namespace is "" for a cluster-wide request.
	Namespace string `json:"namespace,omitempty"`
	Error     string `json:"error"`
	// Incomplete is true where a list may lack items (a page failed).
	Incomplete bool `json:"incomplete,omitempty"`
}
