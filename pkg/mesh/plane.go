package mesh

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// planeOf describes one istiod Deployment; the errors are settings whose value
// cannot be told.
func planeOf(d *appsv1.Deployment) (ControlPlane, []error) {
	plane := ControlPlane{Namespace: d.Namespace, Name: d.Name, Revision: d.Labels["istio.io/rev"], Desired: 1, Updated: d.Status.UpdatedReplicas, selector: d.Spec.Selector}
	if d.Spec.Replicas != nil {
		plane.Desired = *d.Spec.Replicas
	}
	plane.Settled = d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == plane.Desired &&
		d.Status.AvailableReplicas == plane.Desired && d.Status.Replicas == plane.Desired
	var container *corev1.Container
	for i := range d.Spec.Template.Spec.Containers {
		if c := &d.Spec.Template.Spec.Containers[i]; c.Name == "discovery" || container == nil {
			container = c
		}
	}
	if container == nil {
		return plane, []error{errors.New("it has no container")}
	}
	plane.Image, plane.Version = container.Image, versionOfImage(container.Image)
	env := environment{container: container}
	plane.Flags = env.flags(plane.Version)
	if plane.ClusterID = env.text("CLUSTER_ID", "Kubernetes"); plane.ClusterID == "" {
		plane.ClusterID = "Kubernetes" // istio 1.30.3 pilot/pkg/features
	}
	if plane.Revision == "" {
		plane.Revision = env.text("REVISION", "default")
	}
	return plane, env.unknown
}

// environment reads a container's settings by value.
type environment struct {
	container *corev1.Container
	unknown   []error
}

func (e *environment) text(name, fallback string) string {
	for _, v := range e.container.Env {
		if v.Name != name {
			continue
		}
		if v.ValueFrom != nil {
			e.unknown = append(e.unknown, fmt.Errorf("%s comes from elsewhere (valueFrom): its value is not known", name))
			return fallback
		}
		return v.Value
	}
	if len(e.container.EnvFrom) > 0 {
		e.unknown = append(e.unknown, fmt.Errorf("%s may come from elsewhere (envFrom): its value is not known", name))
	}
	return fallback
}

// boolean is a flag as Istio reads it: by strconv.ParseBool, and by the default
// where that fails (istio 1.30.3 pkg/env/var.go).
func (e *environment) boolean(name string, fallback bool) bool {
	if b, err := strconv.ParseBool(e.text(name, "")); err == nil {
		return b
	}
	return fallback
}

func (e *environment) duration(name string, fallback time.Duration) Duration {
	if d, err := time.ParseDuration(e.text(name, "")); err == nil {
		return Duration(d)
	}
	return Duration(fallback)
}

// flags are istiod's settings with the defaults of its release (istio-facts A2, B1,
// B4; an unknown release is taken for a recent one, and its own answers prove it).
func (e *environment) flags(version string) Flags {
	reload := true
	if Before(version, "1.19.0") {
		reload = e.boolean("AUTO_RELOAD_PLUGIN_CERTS", !Before(version, "1.18.0")) && !Before(version, "1.14.0")
	}
	return Flags{
		MultiRoot:           e.boolean("ISTIO_MULTIROOT_MESH", false),
		AutoReload:          reload,
		CAServer:            e.boolean("ENABLE_CA_SERVER", true),
		ExternalCA:          e.text("EXTERNAL_CA", ""),
		CertProvider:        e.text("PILOT_CERT_PROVIDER", "istiod"),
		RootCADir:           e.text("ROOT_CA_DIR", "./etc/cacerts"),
		TrustConfigMap:      e.text("PILOT_CA_CERT_CONFIGMAP", "istio-ca-root-cert"),
		ClusterTrustBundle:  e.boolean("ENABLE_CLUSTER_TRUST_BUNDLE_API", false),
		SelfSignedInCACerts: e.boolean("USE_CACERTS_FOR_SELF_SIGNED_CA", false),
		MaxWorkloadTTL:      e.duration("MAX_WORKLOAD_CERT_TTL", 90*24*time.Hour),
		DefaultWorkloadTTL:  e.duration("DEFAULT_WORKLOAD_CERT_TTL", 24*time.Hour),
	}
}
