package plugin

// purpose is what somebody wants to do with a mesh.
type purpose string

const (
	forRead   purpose = "read"
	forRotate purpose = "rotate"
)

func purposes() []purpose { return []purpose{forRead, forRotate} }

// scope is where a permission is needed.
type scope string

const (
	everywhere scope = "cluster"         // all namespaces, or objects of none
	atIstiod   scope = "istiod"          // the namespace of istiod
	atNodes    scope = "kube-node-lease" // where kubelets' heartbeats are
)

// permission is one thing that the commands ask of the API server, and why.
type permission struct {
	purpose         purpose
	scope           scope
	group, resource string // resource with its subresource
	names           []string
	verbs           []string
	why             string
	// without says what is lost where it is refused and the command goes on all
	// the same; "" where the command then ends, or its verdict is unknown.
	without string
}

// ofCitadel is what a mesh of Citadel's time asks beside the rest: the certificates of its
// workloads are Secrets of every namespace, and an RBAC rule knows no type.
func ofCitadel() permission {
	return permission{forRead, everywhere, "", "secrets", nil, []string{"list"}, "the workloads' certificates of a Citadel mesh (istio.io/key-and-cert)", ""}
}

// ofIssuer is what the Secret of cert-manager's issuer asks: where it is, its user decides.
func ofIssuer(namespace, name string) permission {
	return permission{forRead, scope(namespace), "", "secrets", []string{name}, []string{"get"}, "the root that cert-manager's issuer of the type ca would bring; its key is not kept", ""}
}

// permissions are all that the commands use: "rbac" prints them, the reference
// lists them, and a test holds them against what a rehearsed rotation really asks.
func permissions() []permission {
	const (
		core      = ""
		apps      = "apps"
		admission = "admissionregistration.k8s.io"
	)
	return []permission{
		{forRead, everywhere, core, "pods", nil, []string{"list"}, "which proxies and istiods live", ""},
		{forRead, everywhere, core, "pods/portforward", nil, []string{"create"}, "what each proxy has loaded, and what each istiod serves", ""},
		{forRead, everywhere, core, "namespaces", nil, []string{"list"}, "where roots are published, who is injected", ""},
		{forRead, everywhere, core, "namespaces", []string{"kube-system"}, []string{"get"}, "the cluster's identity, for a snapshot", "the snapshot does not name the cluster"},
		{forRead, everywhere, core, "configmaps", nil, []string{"get"}, "the roots that istiod has published in every namespace, the mesh config", ""},
		{forRead, everywhere, core, "configmaps", nil, []string{"list"}, "the same in one request", "they are read one by one"},
		{forRead, everywhere, core, "services", nil, []string{"list"}, "east-west gateways: another cluster may share the root", ""},
		{forRead, everywhere, core, "nodes", nil, []string{"list"}, "how far kubelets lag behind a changed ConfigMap", "a pod on a node whose kubelet is silent looks like any other, and the plan warns"},
		{forRead, atNodes, "coordination.k8s.io", "leases", nil, []string{"list"}, "kubelets' heartbeats, which are fresher than a node's own condition", "the node's own condition stands"},
		{forRead, everywhere, apps, "deployments", nil, []string{"list"}, "control planes and their settings", ""},
		{forRead, everywhere, admission, "mutatingwebhookconfigurations", nil, []string{"list"}, "do the injection webhooks trust istiod", ""},
		{forRead, everywhere, admission, "validatingwebhookconfigurations", nil, []string{"list"}, "do the validation webhooks trust istiod", ""},
		{forRead, everywhere, "networking.istio.io", "workloadentries", nil, []string{"list"}, "virtual machines, which no list of pods shows", ""},
		{forRead, everywhere, "security.istio.io", "peerauthentications", nil, []string{"list"}, "is mutual TLS on", "it is said that this is not known"},
		{forRead, everywhere, "networking.istio.io", "destinationrules", nil, []string{"list"}, "is mutual TLS asked for", "it is said that this is not known"},
		{forRead, everywhere, "authentication.istio.io", "policies", nil, []string{"list"}, "the same on Istio 1.0 to 1.5", "it is said that this is not known"},
		{forRead, everywhere, "authentication.istio.io", "meshpolicies", nil, []string{"list"}, "the same on Istio 1.0 to 1.5", "it is said that this is not known"},
		{forRead, everywhere, "cert-manager.io", "certificates", nil, []string{"list"}, "does cert-manager write the CA Secret, and by which policy", "it is said that this is not known"},
		{forRead, everywhere, "cert-manager.io", "issuers", nil, []string{"get"}, "the root that cert-manager would bring", "it is said that this is not known"},
		{forRead, everywhere, "cert-manager.io", "clusterissuers", nil, []string{"get"}, "the same for a ClusterIssuer", "it is said that this is not known"},
		{forRead, everywhere, "certificates.k8s.io", "clustertrustbundles", nil, []string{"get"}, "the roots, where istiod publishes them there", ""},
		{forRead, atIstiod, core, "secrets", []string{"cacerts", "istio-ca-secret", "meshca-staged"}, []string{"get"}, "the CA's certificates; its key is compared, never kept; is a rotation under way", ""},
		{forRead, atIstiod, core, "secrets", []string{"istiod-tls"}, []string{"get"}, "is it there: istiod then serves by it, and not by its CA", "what istiod serves is taken for its CA's"},
		{forRead, atIstiod, core, "secrets", nil, []string{"list"}, "Secrets of other clusters (istio/multiCluster); the API cannot narrow a list to labels", ""},
		{forRead, atIstiod, "coordination.k8s.io", "leases", []string{"meshca-rotation"}, []string{"get"}, "who runs a rotation, for status", ""},

		{forRotate, atIstiod, core, "secrets", []string{"cacerts"}, []string{"update"}, "the change itself, in place", ""},
		{forRotate, atIstiod, core, "secrets", []string{"meshca-staged"}, []string{"delete"}, "old and new CA, kept until retire", ""},
		{forRotate, atIstiod, core, "secrets", nil, []string{"create"}, "meshca-staged; the API cannot narrow a create to a name", ""},
		{forRotate, atIstiod, core, "configmaps", nil, []string{"create", "patch"}, "the journal, meshca-rotation-ID", ""},
		{forRotate, atIstiod, core, "secrets", []string{"istio-ca-secret"}, []string{"update"}, "restore, where the backup is of a self-signed CA", ""},
		{forRotate, atIstiod, core, "events", nil, []string{"create"}, "the audit trail as Events of the cluster", "a warning; the journal has it all"},
		{forRotate, atIstiod, "coordination.k8s.io", "leases", nil, []string{"create"}, "meshca-rotation, which keeps two operators apart", ""},
		{forRotate, atIstiod, "coordination.k8s.io", "leases", []string{"meshca-rotation"}, []string{"update"}, "holding it", ""},
		{forRotate, atIstiod, core, "pods", nil, []string{"patch"}, "an annotation on istiod's pods: kubelet looks at once", "kubelet shows istiod the changed Secret when it next refreshes, up to two minutes later"},
		{forRotate, atIstiod, apps, "deployments", nil, []string{"patch"}, "rolling istiod, where it does not load a changed CA in place", ""},
		{forRotate, everywhere, apps, "deployments", nil, []string{"get", "patch"}, "restarting workloads in waves, where the strategy does", ""},
		{forRotate, everywhere, apps, "statefulsets", nil, []string{"list", "get", "patch"}, "the same", ""},
		{forRotate, everywhere, apps, "daemonsets", nil, []string{"list", "get", "patch"}, "the same", ""},
		{forRotate, everywhere, apps, "replicasets", nil, []string{"list", "get"}, "the same, for ReplicaSets that no Deployment owns", ""},
		{forRotate, everywhere, core, "replicationcontrollers", nil, []string{"list", "get"}, "the same", ""},
		{forRotate, everywhere, "policy", "poddisruptionbudgets", nil, []string{"list"}, "the budgets that a rollout would not ask", ""},
		{forRotate, everywhere, core, "pods", nil, []string{"get"}, "is an evicted pod gone", ""},
		{forRotate, everywhere, core, "pods/eviction", nil, []string{"create"}, "what only an eviction replaces", ""},
		{forRotate, atIstiod, "cert-manager.io", "certificates", nil, []string{"get", "update"}, "'cert-manager release' and 'return': which Secret the Certificate writes", ""},
		{forRotate, atIstiod, "cert-manager.io", "certificates/status", nil, []string{"update"}, "'cert-manager renew': the condition Issuing", ""},
		{forRotate, atIstiod, core, "secrets", []string{"cacerts-released"}, []string{"get"}, "'cert-manager release': has cert-manager followed", ""},
		{forRotate, atIstiod, core, "pods/log", nil, []string{"get"}, "what istiod logs of a reload, shown beside the proof", "it is not shown, and said"},
		{forRotate, atIstiod, core, "serviceaccounts", nil, []string{"create"}, "meshca-probe, which has no role (also for --csr-proof)", "the chain that istiods serve is the evidence, and that is said"},
		{forRotate, atIstiod, core, "serviceaccounts", []string{"meshca-probe"}, []string{"delete"}, "its removal", "it is left behind, and said"},
		{forRotate, atIstiod, core, "serviceaccounts/token", []string{"meshca-probe"}, []string{"create"}, "a token of ten minutes for a throw-away certificate request", "the chain that istiods serve is the evidence, and that is said"},
	}
}
