package mesh

import (
	corev1 "k8s.io/api/core/v1"
)

// bare is a pod without a proxy, and why.
type bare struct {
	namespace, name, why string
}

// bareOf describes a live pod without a proxy; false where it has none by its
// nature: an istiod, or one that a ztunnel serves.
func bareOf(pod *corev1.Pod) (bare, bool) {
	b := bare{pod.Namespace, pod.Name, "it was made without a proxy: before injection was on, or while the webhook did not answer"}
	const inject = "sidecar.istio.io/inject"
	switch {
	case ended(pod), istiodContainer(pod.Spec.Containers) != nil:
		return b, false
	case pod.Annotations["ambient.istio.io/redirection"] == "enabled":
		return b, false
	case pod.Labels[inject] == "false", pod.Annotations[inject] == "false":
		b.why = "injection is off for this pod"
	case pod.Spec.HostNetwork:
		b.why = "it uses its node's network, so it gets no proxy"
	}
	return b, true
}

// uninjected keeps the pods without a proxy of the namespaces that should have one.
func (g *gatherer) uninjected() {
	meshed := map[string]bool{}
	for _, n := range g.s.Namespaces {
		meshed[n.Name] = n.Revision != "" && !n.Ambient
	}
	for _, b := range g.bare {
		if meshed[b.namespace] {
			g.s.Uninjected = append(g.s.Uninjected, Uninjected{Namespace: b.namespace, Name: b.name, Why: b.why})
		}
	}
}
