package rehearsal

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pod is the proxy as the API server shows it: what injection writes.
func (p *sidecar) pod() *corev1.Pod {
	w := p.workload
	started := metav1.NewTime(p.mesh.clock.Now())
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, UID: types.UID(p.ref()), CreationTimestamp: started,
		Labels: map[string]string{"istio.io/rev": cmp.Or(w.Revision, defaultRevision), "app": w.Name}}}
	if p.mesh.citadel != nil {
		delete(pod.Labels, "istio.io/rev") // of a time before revisions
	}
	role := "sidecar"
	switch w.Kind {
	case mesh.Gateway:
		role = "router"
	case mesh.Waypoint:
		role = "waypoint"
		pod.Labels["gateway.istio.io/managed"] = "istio.io-mesh-controller"
	}
	controller := true
	switch w.Controller {
	case BarePod:
	case "", "Deployment":
		pod.Labels["pod-template-hash"] = templateHash
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: w.Name + "-" + templateHash, Controller: &controller}}
	default:
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: w.Controller, Name: w.Name, Controller: &controller}}
	}
	if p.ztunnel() {
		role = "ztunnel"
		pod.Labels["app"] = "ztunnel"
	}
	pod.Spec.NodeName = nodeName
	pod.Spec.ServiceAccountName = p.account()
	image := "istio/proxyv2:" + p.release()
	if w.Untagged {
		image = "istio/proxyv2"
	}
	pod.Spec.Containers = []corev1.Container{{Name: "istio-proxy", Image: image, Args: []string{"proxy", role}, Env: []corev1.EnvVar{
		{Name: "PROXY_CONFIG_XDS_AGENT", Value: fmt.Sprint(p.mesh.spec.XDSAgent && !w.Cold)}, {Name: "SECRET_TTL", Value: p.ttl().String()},
	}}}
	for _, name := range slices.Sorted(maps.Keys(w.Env)) {
		pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: name, Value: w.Env[name]})
	}
	running := []corev1.ContainerStatus{{Name: "istio-proxy", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}}}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &started, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}, ContainerStatuses: running}
	if w.Native {
		always := corev1.ContainerRestartPolicyAlways
		pod.Spec.InitContainers, pod.Spec.Containers = pod.Spec.Containers, []corev1.Container{{Name: "app", Image: "app"}}
		pod.Spec.InitContainers[0].RestartPolicy = &always
		pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses = running, nil
	}
	return pod
}

const (
	nodeName     = "node"
	templateHash = "7d9c6b5f4"
)

// account is the service account that its certificate names.
func (p *sidecar) account() string { return p.workload.account() }

func (w Workload) account() string {
	if w.Controller == BarePod {
		return "default"
	}
	return w.Name
}

func (p *sidecar) identity() string {
	return "spiffe://" + cmp.Or(p.mesh.spec.TrustDomain, "cluster.local") + "/ns/" + p.namespace + "/sa/" + p.account()
}
