package mesh

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// workloadOf is the controller that would replace the pod. A ReplicaSet's own
// controller is told without asking for it: a Deployment names its ReplicaSets by
// its own name and the hash that it labels their pods with (kubernetes 1.37.1
// pkg/controller/deployment/sync.go, getNewReplicaSet), as an Argo Rollout does
// with a label of its own. So 10,000 pods need no request.
func workloadOf(pod *corev1.Pod) Workload {
	for _, owner := range pod.OwnerReferences {
		if owner.Controller == nil || !*owner.Controller {
			continue
		}
		if owner.Kind == "ReplicaSet" {
			for label, kind := range map[string]string{"pod-template-hash": "Deployment", "rollouts-pod-template-hash": "Rollout"} {
				if hash := pod.Labels[label]; hash != "" {
					if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok && name != "" {
						return Workload{Kind: kind, Name: name}
					}
				}
			}
		}
		return Workload{Kind: owner.Kind, Name: owner.Name}
	}
	return Workload{}
}
