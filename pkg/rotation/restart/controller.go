package restart

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Ref names a controller.
type Ref struct {
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// way is how a controller lets its pods be replaced.
type way string

const (
	// rolling: it replaces them itself, some at a time, when its template changes.
	rolling way = "rolling"
	// recreate: it takes all of them away first.
	recreate way = "recreate"
	// singly: it only replaces what somebody else removes.
	singly way = "singly"
	// paused: it does nothing until somebody lets it.
	paused way = "paused"
)

// Controller is one workload as far as a restart needs to know it.
type Controller struct {
	Ref
	way way
	// why says what makes way what it is, where that is no default.
	why string
	// replicas is how many pods it is to have; unavailable how many of them its
	// rollout may take away before others serve.
	replicas, unavailable int
	labels                map[string]string // of its template
	// restartedAt is its template's annotation, zero where there is none.
	restartedAt time.Time
	// settled: it has seen its present template, every pod is of it and serves.
	settled  bool
	progress string
	// stalled says why its rollout will not end by itself.
	stalled string
	// holdsBack: its template was changed, and pods are left as they were.
	holdsBack bool
}

// begun reports whether a rollout later than since is on its way, or done.
func (c Controller) begun(since time.Time) bool {
	return c.way != singly && !since.IsZero() && c.restartedAt.After(since)
}

// restartedAnnotation on a pod template is what kubectl rollout restart writes.
const restartedAnnotation = "kubectl.kubernetes.io/restartedAt"

// newController describes a Deployment, StatefulSet, DaemonSet, ReplicaSet or
// ReplicationController; false for anything else.
func newController(object any) (Controller, bool) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return ofDeployment(o), true
	case *appsv1.StatefulSet:
		return ofStatefulSet(o), true
	case *appsv1.DaemonSet:
		return ofDaemonSet(o), true
	case *appsv1.ReplicaSet:
		return ofReplicas("ReplicaSet", &o.ObjectMeta, &o.Spec.Template, o.Spec.Replicas, o.Status.ObservedGeneration, o.Status.AvailableReplicas), true
	case *corev1.ReplicationController:
		return ofReplicas("ReplicationController", &o.ObjectMeta, o.Spec.Template, o.Spec.Replicas, o.Status.ObservedGeneration, o.Status.AvailableReplicas), true
	}
	return Controller{}, false
}

func base(kind string, m *metav1.ObjectMeta, template *corev1.PodTemplateSpec) Controller {
	c := Controller{Ref: Ref{Kind: kind, Namespace: m.Namespace, Name: m.Name}}
	if template != nil {
		c.labels = template.Labels
		// What somebody else wrote there and is no time is no restart of ours.
		c.restartedAt, _ = time.Parse(time.RFC3339, template.Annotations[restartedAnnotation])
	}
	return c
}

// ofDeployment reads a Deployment as kubectl rollout status does (kubectl 1.37.2
// pkg/polymorphichelpers/rollout_status.go), and waits for availability besides.
func ofDeployment(d *appsv1.Deployment) Controller {
	c := base("Deployment", &d.ObjectMeta, &d.Spec.Template)
	c.way, c.replicas = rolling, desired(d.Spec.Replicas)
	s := d.Status
	c.settled = s.ObservedGeneration >= d.Generation && int(s.UpdatedReplicas) == c.replicas &&
		s.Replicas == s.UpdatedReplicas && s.AvailableReplicas == s.UpdatedReplicas
	c.progress = fmt.Sprintf("%d of %d are new, %d serve", s.UpdatedReplicas, c.replicas, s.AvailableReplicas)
	for _, condition := range s.Conditions {
		if s.ObservedGeneration >= d.Generation && condition.Type == appsv1.DeploymentProgressing && condition.Reason == "ProgressDeadlineExceeded" {
			c.stalled = "its progress deadline has passed: " + condition.Message
		}
	}
	switch {
	case d.Spec.Paused:
		c.way, c.why = paused, "it is paused (spec.paused), so that a changed template waits"
	case d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		c.way, c.why, c.unavailable = recreate, "its strategy is Recreate: every pod is gone before the first new one starts", c.replicas
	default:
		var unavailable, surge *intstr.IntOrString
		if r := d.Spec.Strategy.RollingUpdate; r != nil {
			unavailable, surge = r.MaxUnavailable, r.MaxSurge
		}
		c.unavailable = share(unavailable, "25%", c.replicas, false)
		// The controller's own rule where both come to nothing (kubernetes
		// pkg/controller/deployment/util, ResolveFenceposts).
		if c.unavailable == 0 && share(surge, "25%", c.replicas, true) == 0 {
			c.unavailable = 1
		}
	}
	return c
}

func ofStatefulSet(s *appsv1.StatefulSet) Controller {
	c := base("StatefulSet", &s.ObjectMeta, &s.Spec.Template)
	c.replicas = desired(s.Spec.Replicas)
	serving := s.Status.AvailableReplicas
	if s.Spec.MinReadySeconds == 0 { // to be ready is to be available; API servers before 1.22 know neither field (Kubernetes' CHANGELOG-1.22.md)
		serving = max(serving, s.Status.ReadyReplicas)
	}
	seen := s.Status.ObservedGeneration >= s.Generation && int(serving) == c.replicas
	update := s.Spec.UpdateStrategy
	switch {
	case update.Type == appsv1.OnDeleteStatefulSetStrategyType:
		c.way, c.why, c.unavailable, c.settled = singly, "its update strategy is OnDelete", 1, seen
		// The present revision stays behind for ever under OnDelete (kubernetes
		// pkg/controller/statefulset, completeRollingUpdate): the count tells.
		c.holdsBack = int(s.Status.UpdatedReplicas) < c.replicas
	case update.RollingUpdate != nil && update.RollingUpdate.Partition != nil && *update.RollingUpdate.Partition > 0:
		// Its rollout would leave the pods below the partition as they are.
		c.way, c.why, c.unavailable, c.settled = singly, fmt.Sprintf("its update strategy leaves %d pods out (partition)", *update.RollingUpdate.Partition), 1, seen
	default:
		c.way, c.unavailable = rolling, 1
		if update.RollingUpdate != nil {
			c.unavailable = max(1, share(update.RollingUpdate.MaxUnavailable, "1", c.replicas, true))
		}
		c.settled = seen && int(s.Status.UpdatedReplicas) == c.replicas && s.Status.CurrentRevision == s.Status.UpdateRevision
	}
	c.progress = fmt.Sprintf("%d of %d are new, %d serve", s.Status.UpdatedReplicas, c.replicas, serving)
	return c
}

func ofDaemonSet(d *appsv1.DaemonSet) Controller {
	c := base("DaemonSet", &d.ObjectMeta, &d.Spec.Template)
	s := d.Status
	c.replicas = int(s.DesiredNumberScheduled)
	seen := s.ObservedGeneration >= d.Generation && s.NumberAvailable == s.DesiredNumberScheduled
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		c.way, c.why, c.unavailable, c.settled = singly, "its update strategy is OnDelete", 1, seen
		c.holdsBack = s.UpdatedNumberScheduled < s.DesiredNumberScheduled
	} else {
		var unavailable, surge *intstr.IntOrString
		if r := d.Spec.UpdateStrategy.RollingUpdate; r != nil {
			unavailable, surge = r.MaxUnavailable, r.MaxSurge
		}
		c.way = rolling
		// Only one of the two may be set; both round up.
		if share(surge, "0", c.replicas, true) == 0 {
			c.unavailable = max(1, share(unavailable, "1", c.replicas, true))
		}
		c.settled = seen && s.UpdatedNumberScheduled == s.DesiredNumberScheduled
	}
	c.progress = fmt.Sprintf("%d of %d are new, %d serve", s.UpdatedNumberScheduled, s.DesiredNumberScheduled, s.NumberAvailable)
	return c
}

// ofReplicas is a set that makes up for pods that are gone, and does no more.
func ofReplicas(kind string, m *metav1.ObjectMeta, template *corev1.PodTemplateSpec, replicas *int32, observed int64, available int32) Controller {
	c := base(kind, m, template)
	c.way, c.why, c.replicas, c.unavailable = singly, "it only makes up for pods that are gone", desired(replicas), 1
	c.settled = observed >= m.Generation && int(available) == c.replicas
	c.progress = fmt.Sprintf("%d of %d serve", available, c.replicas)
	return c
}

func desired(replicas *int32) int {
	if replicas == nil {
		return 1
	}
	return int(*replicas)
}

// share is a number or a percentage of all pods, or what the API server sets where
// it is missing. What cannot be read is all of them: the worst that it could be.
func share(v *intstr.IntOrString, missing string, all int, up bool) int {
	if v == nil {
		parsed := intstr.Parse(missing)
		v = &parsed
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, all, up)
	if err != nil || n > all {
		return all
	}
	return max(n, 0)
}
