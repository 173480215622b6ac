package mesh

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// What a Citadel (Istio 1.0 to 1.5) leaves in every namespace (istio 1.1.8
// security/pkg/k8s/controller/workloadsecret.go:55-62).
const (
	workloadSecretType   = "istio.io/key-and-cert"
	workloadSecretPrefix = "istio."
	dnsSecretPrefix      = "dns."
	workloadAccount      = "istio.io/service-account.name"
	workloadChainEntry   = "cert-chain.pem"
)

// citadelTTL is the life of a Citadel's leaves where no argument says otherwise,
// and the longest one (istio 1.1.8 security/cmd/istio_ca/main.go).
const citadelTTL = 90 * 24 * time.Hour

// WorkloadSecret is a Citadel's Secret istio.SERVICEACCOUNT, without its key.
type WorkloadSecret struct {
	Namespace      string    `json:"namespace"`
	Name           string    `json:"name"`
	ServiceAccount string    `json:"serviceAccount"`
	Created        time.Time `json:"created,omitzero"`
	// Chain is cert-chain.pem, leaf first; Roots is root-cert.pem.
	Chain []*pki.Certificate `json:"chain,omitempty"`
	Roots []*pki.Certificate `json:"roots,omitempty"`
	// Error says what of it could not be parsed.
	Error string `json:"error,omitempty"`
}

// Ref is namespace/name.
func (w WorkloadSecret) Ref() string { return w.Namespace + "/" + w.Name }

// Matches reports whether its roots are those given, by DER and as sets.
func (w WorkloadSecret) Matches(roots []*pki.Certificate) bool {
	return len(roots) > 0 && pki.NewSet(w.Roots...).Equal(pki.NewSet(roots...))
}

// Component is a pod of Pilot, Galley or the sidecar injector on a Citadel mesh:
// they mount certificates, and load new ones by their own rules.
type Component struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	// Role is pilot, galley or sidecar-injector, the value of its label istio.
	Role string `json:"role"`
	// Sidecar is true where an Envoy stands in front of it.
	Sidecar bool `json:"sidecar"`
	Ready   bool `json:"ready"`
	// DNS is true where its webhook serves a certificate of the cluster's own CA, which
	// Pilot has fetched for it: Istio's DNS certificates (istio 1.4.10
	// install/kubernetes/helm/istio/charts/sidecarInjectorWebhook/templates/deployment.yaml).
	DNS     bool   `json:"dns,omitempty"`
	Version string `json:"version,omitempty"`
	// Started is when its process was, so that it has read its files.
	Started time.Time `json:"started,omitzero"`
}

// citadelFlags are the lives that a Citadel is told to grant.
func citadelFlags(args []string) Flags {
	f := Flags{DefaultWorkloadTTL: Duration(citadelTTL), MaxWorkloadTTL: Duration(citadelTTL)}
	for i, arg := range args {
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			continue
		}
		switch name {
		case "workload-cert-ttl":
			f.DefaultWorkloadTTL = Duration(d)
		case "max-workload-cert-ttl":
			f.MaxWorkloadTTL = Duration(d)
		}
	}
	return f
}

// citadelMesh reads what only a Citadel mesh has.
func (g *gatherer) citadelMesh(ctx context.Context) {
	if slices.ContainsFunc(g.s.ControlPlanes, func(plane ControlPlane) bool { return plane.citadel }) {
		g.components(ctx)
		g.workloadSecrets(ctx)
	}
}

// pilotHomes are the namespaces of Pilots, which is where a Citadel mesh has its mesh
// config: istio/installer (1.3, 1.4) has Citadel in another one (istio-control/istio-discovery
// and security/citadel there). Where none is seen it is Citadel's own.
func (g *gatherer) pilotHomes(ctx context.Context, citadel string) (all []string) {
	pods, err := g.pods(ctx, metav1.NamespaceAll, "istio=pilot")
	if err != nil {
		return []string{citadel} // whoever lists proxies says so
	}
	for i := range pods {
		if pod := &pods[i]; !ended(pod) && pod.Labels["app"] != "istiod" && !slices.Contains(all, pod.Namespace) {
			all = append(all, pod.Namespace)
		}
	}
	if len(all) == 0 {
		all = append(all, citadel)
	}
	return all
}

// workloadSecrets reads the certificates of every namespace, and lets go of the
// keys beside them before the next page.
func (g *gatherer) workloadSecrets(ctx context.Context) {
	const part = "workload certificates (secrets of type " + workloadSecretType + ")"
	if g.NoSecrets {
		g.gap(part, "list", "secrets", "", errors.New("they were not to be read"))
		return
	}
	var all []WorkloadSecret
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.CoreV1().Secrets("").List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			if secret := &page.Items[i]; secret.Type == workloadSecretType { // the fake client knows no field selector
				all = append(all, workloadSecretOf(secret))
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("type", workloadSecretType).String()}, func() { all = nil })
	if err != nil {
		g.gap(part, "list", "secrets", "", err)
	}
	slices.SortFunc(all, func(a, b WorkloadSecret) int { return strings.Compare(a.Ref(), b.Ref()) })
	g.s.WorkloadSecrets = all
}

func workloadSecretOf(secret *corev1.Secret) WorkloadSecret {
	w := WorkloadSecret{Namespace: secret.Namespace, Name: secret.Name, ServiceAccount: secret.Annotations[workloadAccount], Created: secret.CreationTimestamp.Time}
	if w.ServiceAccount == "" {
		w.ServiceAccount = strings.TrimPrefix(secret.Name, workloadSecretPrefix)
	}
	var faults []error
	for _, entry := range []struct {
		name string
		into *[]*pki.Certificate
	}{{workloadChainEntry, &w.Chain}, {rootEntry, &w.Roots}} {
		bundle, err := pki.ParseBundle(secret.Data[entry.name])
		if err != nil {
			faults = append(faults, errors.New(entry.name+": "+err.Error()))
			continue
		}
		*entry.into = bundle.Certs
	}
	if err := errors.Join(faults...); err != nil {
		w.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return w
}

// componentRoles are the values of the label istio of what mounts a Citadel's certificates.
func componentRoles() []string { return []string{"pilot", "galley", "sidecar-injector"} }

// components are not always in Citadel's own namespace (see pilotHomes).
func (g *gatherer) components(ctx context.Context) {
	pods, err := g.pods(ctx, metav1.NamespaceAll, "istio in ("+strings.Join(componentRoles(), ",")+")")
	if err != nil {
		g.gap("pods of Pilot, Galley and the injector", "list", "pods", "", err)
		return
	}
	for i := range pods {
		pod := &pods[i]
		if ended(pod) || pod.Labels["app"] == "istiod" {
			continue
		}
		c, own := Component{Namespace: pod.Namespace, Pod: pod.Name, Role: pod.Labels["istio"]}, ""
		for _, container := range pod.Spec.Containers {
			if container.Name == "istio-proxy" {
				c.Sidecar = true
				continue
			}
			own = cmp.Or(own, container.Name)
			c.Version = cmp.Or(c.Version, versionOfImage(container.Image))
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady {
				c.Ready = condition.Status == corev1.ConditionTrue
			}
		}
		c.DNS = slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.Secret != nil && strings.HasPrefix(v.Secret.SecretName, dnsSecretPrefix)
		})
		// A secured Pilot ends while its Secret is not there yet, and reads it at the start
		// that follows (istio 1.4.10 pilot/pkg/bootstrap/server.go:1142, 1224).
		c.Started = startOf(pod, own)
		g.s.Components = append(g.s.Components, c)
	}
	slices.SortFunc(g.s.Components, func(a, b Component) int { return strings.Compare(a.Pod, b.Pod) })
}

// BySDS reports whether a proxy was seen to hold a certificate that came to it by SDS, and
// not as a file.
func (p Proxy) BySDS() bool { return p.Loaded != nil && len(p.Loaded.Identities) > 0 }

// citadelReach: an agent of Istio 1.0 to 1.4 watches the files of its Secret, and
// restarts its Envoy on new ones; 1.1.3 to 1.1.7 watch the files themselves, which
// kubelet replaces by a link, and so miss it (istio pull request 14540, in 1.1.8).
//
// By SDS, from the node agent of 1.1 to 1.4, it gets certificate and roots with its next
// request (istio 1.4.10 security/pkg/nodeagent/cache/secretcache.go:660), and no file.
func citadelReach(p Proxy) (Reach, string) {
	if p.BySDS() {
		return ReachRenewal, "it gets its certificate from its node's agent by SDS: with its next one"
	}
	release, atLeast := p.ReleaseOf()
	switch {
	case release == "" || atLeast:
		return ReachUnknown, "its certificate is a file of Citadel's, and its release is not known"
	case !Before(release, "1.1.3") && Before(release, "1.1.8"):
		return ReachRestart, "its certificate is a file of Citadel's, and release " + release + " does not restart Envoy on a new one"
	}
	return ReachRenewal, "its certificate is a file of Citadel's, on which its agent restarts Envoy"
}
