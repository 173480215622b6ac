package mesh

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"
)

// pageSize bounds one list request: the API server streams nothing, and a mesh
// of 10,000 pods in one answer is some 100 MiB.
const pageSize = 500

// Defaults of a proxy that says nothing else (istio 1.30.3
// pkg/config/constants/constants.go, tools/istio-iptables).
const (
	defaultAdminPort  = 15000
	defaultStatusPort = 15020
)

// ListProxies lists every pod of the cluster, or of one namespace, that has a
// certificate of the mesh: sidecars (as container or native sidecar), gateways,
// waypoints and ztunnels. An error means that the list may be incomplete, and
// so that nothing may be concluded from it.
func ListProxies(ctx context.Context, kube kubernetes.Interface, namespace, selector string) ([]Proxy, error) {
	var proxies []Proxy
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := kube.CoreV1().Pods(namespace).List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			if p, ok := ProxyOf(&page.Items[i]); ok {
				proxies = append(proxies, p)
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{LabelSelector: selector}, func() { proxies = nil })
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	return proxies, nil
}

// ProxyOf describes the proxy in a pod; false where it has none, or where the
// pod has ended.
func ProxyOf(pod *corev1.Pod) (Proxy, bool) { return proxyIn(pod, nil) }

// proxyIn is ProxyOf where istiods take tokens for these audiences, beside agents' own.
func proxyIn(pod *corev1.Pod, audiences []string) (Proxy, bool) {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return Proxy{}, false
	}
	container, native, opaque := proxyContainer(pod, audiences)
	switch {
	case container == nil:
		return Proxy{}, false
	case isZtunnel(pod):
		return ztunnelOf(pod, container), true
	}
	p := podOf(pod, container)
	p.Kind, p.Native, p.Opaque = kindOf(pod, container), native, opaque
	settingsOf(pod, container).apply(&p)
	if opaque {
		return p, true // its image counts otherwise than Istio does
	}
	if p.Version = versionOfImage(container.Image); p.Version != "" {
		p.VersionFrom = "image tag"
	}
	return p, true
}

// podOf is what every kind of proxy has in common.
func podOf(pod *corev1.Pod, container *corev1.Container) Proxy {
	config := configOf(pod, container)
	p := Proxy{
		Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName, IP: pod.Status.PodIP,
		Workload: workloadOf(pod), Labels: pod.Labels, ServiceAccount: pod.Spec.ServiceAccountName,
		Revision: revisionOf(pod), Image: container.Image, Phase: string(pod.Status.Phase),
		Terminating: pod.DeletionTimestamp != nil, Created: pod.CreationTimestamp.Time,
		AdminPort: adminPort(config, container), StatusPort: statusPort(pod, config), Reach: ReachUnknown,
		Quit: quit(pod, container.Name),
	}
	p.Starting = !p.Quit && !running(pod, container.Name)
	if pod.Status.StartTime != nil {
		p.Started = pod.Status.StartTime.Time
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			p.Ready = condition.Status == corev1.ConditionTrue
		}
	}
	return p
}

// revisionOf is the revision that made the proxy, by the annotation that it leaves
// (istio 1.30.3 files/injection-template.yaml), or the one that the pod asks for.
func revisionOf(pod *corev1.Pod) string {
	if revision := pod.Annotations["istio.io/rev"]; revision != "" {
		return revision
	}
	return pod.Labels["istio.io/rev"]
}

// proxyConfig is what a pod's own ProxyConfigs say of ports, zero where they do not.
type proxyConfig struct {
	StatusPort     int `json:"statusPort"`
	ProxyAdminPort int `json:"proxyAdminPort"`
}

// configOf reads the pod's own ProxyConfigs, the later of which counts: what injection
// wrote, and the annotation. Most pods have none, and a mesh has thousands of pods.
func configOf(pod *corev1.Pod, container *corev1.Container) (all proxyConfig) {
	texts := make([]string, 0, 2)
	for _, env := range container.Env {
		if env.Name == "PROXY_CONFIG" {
			texts = append(texts, env.Value)
		}
	}
	for _, text := range append(texts, pod.Annotations["proxy.istio.io/config"]) {
		if text = strings.TrimSpace(text); text == "" || text == "{}" {
			continue
		}
		var one proxyConfig
		_ = yaml.Unmarshal([]byte(text), &one) // what can be read of it counts
		all.StatusPort = cmp.Or(max(one.StatusPort, 0), all.StatusPort)
		all.ProxyAdminPort = cmp.Or(max(one.ProxyAdminPort, 0), all.ProxyAdminPort)
	}
	return all
}

// statusPort is the agent's own, by the annotation or its config.
func statusPort(pod *corev1.Pod, config proxyConfig) int {
	if n, err := strconv.Atoi(pod.Annotations["status.sidecar.istio.io/port"]); err == nil && n > 0 {
		return n
	}
	return cmp.Or(config.StatusPort, defaultStatusPort)
}

// agentContainer finds the container that runs pilot-agent with Envoy. Injection
// and the gateway charts name it istio-proxy, whatever the image's registry; a
// native sidecar is an init container that restarts always.
func agentContainer(pod *corev1.Pod) (container *corev1.Container, native bool) {
	for i := range pod.Spec.Containers {
		if c := &pod.Spec.Containers[i]; c.Name == "istio-proxy" {
			return c, false
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.Name == "istio-proxy" && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			return c, true
		}
	}
	return nil, false
}

const (
	// managedBy is what istiod labels the gateways with that it deploys, and
	// agentgateways those of GatewayClass istio-agentgateway: since 1.29, and as waypoints
	// since 1.31, without an Envoy (istio 1.31.0-rc.0
	// manifests/charts/istio-control/istio-discovery/files/agentgateway.yaml).
	managedBy     = "gateway.istio.io/managed"
	agentgateways = "istio.io-agentgateway"
	// tokenAudience is whom istiod takes for a client of its CA (istio 1.30.3
	// pkg/security/security.go, TokenAudiences).
	tokenAudience = "istio-ca"
)

// tokenHolder finds the container of a pod without an istio-proxy that gets itself a
// certificate of the mesh all the same: an agentgateway, or whatever mounts a token for
// istiod's CA.
func tokenHolder(pod *corev1.Pod, audiences []string) (container *corev1.Container, native bool) {
	if istiodContainer(pod.Spec.Containers) != nil {
		return nil, false // istiod has such a token for other clusters' istiods
	}
	tokens := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			// Without an audience it is for the API server, as every pod's is.
			if t := source.ServiceAccountToken; t != nil && t.Audience != "" && (t.Audience == tokenAudience || slices.Contains(audiences, t.Audience)) {
				tokens[v.Name] = true
			}
		}
	}
	gateway := strings.HasPrefix(pod.Labels[managedBy], agentgateways)
	holds := func(c *corev1.Container) bool {
		return gateway && c.Name == "agentgateway" || slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return tokens[m.Name] })
	}
	for i := range pod.Spec.Containers {
		if c := &pod.Spec.Containers[i]; holds(c) {
			return c, false
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways && holds(c) {
			return c, true
		}
	}
	return nil, false
}

// running reports whether the agent's container runs, or has run: only one that
// never has can have nothing loaded.
func running(pod *corev1.Pod, container string) bool {
	for _, status := range append(slices.Clone(pod.Status.ContainerStatuses), pod.Status.InitContainerStatuses...) {
		if status.Name == container {
			return status.State.Running != nil || status.RestartCount > 0
		}
	}
	return pod.Status.Phase == corev1.PodRunning
}

// quit reports whether a container has ended for good: kubelet starts none again in a pod
// that is deleted, and else by the policy of the pod or of the container (kubernetes
// pkg/kubelet/container/helpers.go, ShouldContainerBeRestarted). A native sidecar is
// started again for as long as any other container is.
func quit(pod *corev1.Pod, container string) bool {
	for _, status := range pod.Status.InitContainerStatuses {
		if ended := status.State.Terminated; status.Name == container && ended != nil {
			return pod.DeletionTimestamp != nil || len(pod.Status.ContainerStatuses) == len(pod.Spec.Containers) &&
				!slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool { return !quit(pod, c.Name) })
		}
	}
	for _, status := range pod.Status.ContainerStatuses {
		if ended := status.State.Terminated; status.Name == container && ended != nil {
			return pod.DeletionTimestamp != nil || !restarts(pod, container, ended.ExitCode)
		}
	}
	return false
}

// restarts reports whether a container that has ended so may be started again.
func restarts(pod *corev1.Pod, container string, code int32) bool {
	policy := pod.Spec.RestartPolicy
	for _, c := range pod.Spec.Containers {
		if c.Name != container {
			continue
		}
		if len(c.RestartPolicyRules) > 0 {
			return true // by exit code: it is not for good that is not known to be
		}
		if c.RestartPolicy != nil {
			policy = corev1.RestartPolicy(*c.RestartPolicy)
		}
	}
	return policy != corev1.RestartPolicyNever && (policy != corev1.RestartPolicyOnFailure || code != 0)
}

// Idle reports whether nothing of it runs, so that it trusts and presents nothing.
func (p Proxy) Idle() bool { return p.Starting || p.Quit }

// proxyContainer is the one whose settings count, nil where a pod has no proxy; opaque is
// true where no agent of Istio's is known to be in it.
func proxyContainer(pod *corev1.Pod, audiences []string) (container *corev1.Container, native, opaque bool) {
	if isZtunnel(pod) {
		return ztunnelContainer(pod), false, false
	}
	if container, native = agentContainer(pod); container != nil {
		return container, native, false
	}
	container, native = tokenHolder(pod, audiences)
	return container, native, true
}

func ztunnelContainer(pod *corev1.Pod) *corev1.Container {
	container := &corev1.Container{}
	for i := range pod.Spec.Containers {
		if c := &pod.Spec.Containers[i]; c.Name == "istio-proxy" || i == 0 {
			container = c
		}
	}
	return container
}

// ztunnelOf describes a node's ztunnel.
func ztunnelOf(pod *corev1.Pod, container *corev1.Container) Proxy {
	p := podOf(pod, container)
	p.Kind = Ztunnel
	settingsOf(pod, container).apply(&p)
	if p.Version = versionOfImage(container.Image); p.Version != "" {
		p.VersionFrom = "image tag"
	}
	return p
}

// isZtunnel: ztunnel's only container is called istio-proxy too (istio 1.30.3
// manifests/charts/ztunnel/templates/daemonset.yaml).
func isZtunnel(pod *corev1.Pod) bool { return pod.Labels["app"] == "ztunnel" }

func kindOf(pod *corev1.Pod, container *corev1.Container) ProxyKind {
	switch {
	case pod.Labels[managedBy] == "istio.io-mesh-controller" || pod.Labels[managedBy] == agentgateways+"-waypoint-controller" || slices.Contains(container.Args, "waypoint"):
		return Waypoint
	case slices.Contains(container.Args, "router") || strings.HasPrefix(pod.Labels[managedBy], agentgateways):
		return Gateway
	}
	return Sidecar
}

// adminPort is the proxy's own, by the annotation that overrides the mesh's
// proxy config and by the config that injection wrote into the pod.
func adminPort(config proxyConfig, container *corev1.Container) int {
	port := cmp.Or(config.ProxyAdminPort, defaultAdminPort)
	for i, arg := range container.Args { // up to Istio 1.6
		value, found := strings.CutPrefix(arg, "--proxyAdminPort=")
		if !found && arg == "--proxyAdminPort" && i+1 < len(container.Args) {
			value, found = container.Args[i+1], true
		}
		if n, err := strconv.Atoi(value); found && err == nil && n > 0 {
			port = n
		}
	}
	return port
}

// versionOfImage reads a release from an image reference's tag: "1.22.3" of
// hub/proxyv2:1.22.3-distroless@sha256:.... It is "" for a digest alone and for
// a tag that is no release: unknown, not old. Nor is one that counts otherwise than
// Istio does, as a vendor's (2.5.0) or a company's own (2024.5.1): such a proxy or
// istiod is asked.
func versionOfImage(image string) string {
	image, _, _ = strings.Cut(image, "@")
	slash, colon := strings.LastIndex(image, "/"), strings.LastIndex(image, ":")
	if colon <= slash {
		return "" // a port of the registry, or no tag
	}
	tag := image[colon+1:]
	for _, suffix := range []string{"-distroless", "-debug"} {
		tag = strings.TrimSuffix(tag, suffix)
	}
	release, _, _ := strings.Cut(tag, "-") // 1.31.0-rc.0
	parts := strings.Split(release, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return ""
	}
	for i, part := range parts {
		if n, err := strconv.ParseUint(part, 10, 16); err != nil || i == 0 && n > 1 {
			return ""
		}
	}
	return tag
}
