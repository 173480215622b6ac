package mesh

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// TrustMount is a container, other than the proxy, that reads the mesh's roots from
// the trust ConfigMap, or from a Secret of Citadel's: it follows a new root by itself, or
// not at all.
type TrustMount struct {
	Namespace string   `json:"namespace"`
	Pod       string   `json:"pod"`
	Container string   `json:"container"`
	Workload  Workload `json:"workload"`
	Path      string   `json:"path"`
	// Secret is Citadel's, which holds a certificate beside the roots.
	Secret string `json:"secret,omitempty"`
	// Fixed is true for a mount by subPath: kubelet never refreshes such a file
	// (kubernetes.io/docs/concepts/storage/volumes, configMap).
	Fixed bool `json:"fixed,omitempty"`
}

// trustMountsOf are those of one pod, by the names of the trust ConfigMaps. Pilot, Galley
// and the injector are Components, of which more is known.
func (g *gatherer) trustMountsOf(pod *corev1.Pod, names []string) (all []TrustMount) {
	citadel := slices.ContainsFunc(g.s.ControlPlanes, func(plane ControlPlane) bool { return plane.citadel }) && !slices.Contains(componentRoles(), pod.Labels["istio"])
	volumes, secrets := map[string]bool{}, map[string]string{}
	for _, v := range pod.Spec.Volumes {
		switch {
		case citadel && v.Secret != nil && strings.HasPrefix(v.Secret.SecretName, workloadSecretPrefix):
			volumes[v.Name], secrets[v.Name] = true, v.Secret.SecretName
		case v.ConfigMap != nil && slices.Contains(names, v.ConfigMap.Name):
			volumes[v.Name] = true
		case v.Projected != nil:
			for _, source := range v.Projected.Sources {
				if source.ConfigMap != nil && slices.Contains(names, source.ConfigMap.Name) {
					volumes[v.Name] = true
				}
			}
		}
	}
	if len(volumes) == 0 || istiodContainer(pod.Spec.Containers) != nil {
		return nil
	}
	for _, c := range pod.Spec.Containers {
		if c.Name == "istio-proxy" {
			continue
		}
		for _, m := range c.VolumeMounts {
			if volumes[m.Name] {
				all = append(all, TrustMount{Namespace: pod.Namespace, Pod: pod.Name, Container: c.Name, Workload: workloadOf(pod), Path: m.MountPath, Secret: secrets[m.Name], Fixed: m.SubPath != "" || m.SubPathExpr != ""})
			}
		}
	}
	return all
}

// trustNames are the ConfigMaps that the control planes publish the roots in.
func (g *gatherer) trustNames() []string {
	names := []string{DefaultTrustConfigMap}
	for _, plane := range g.s.ControlPlanes {
		if name := plane.Flags.TrustConfigMap; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
