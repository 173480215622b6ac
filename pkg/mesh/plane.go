package mesh

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// DefaultTrustConfigMap is where agents read the roots of istiod itself (istio
// 1.30.3 pilot/pkg/features/experimental.go, PILOT_CA_CERT_CONFIGMAP).
const DefaultTrustConfigMap = "istio-ca-root-cert"

// planeOf describes one istiod Deployment; the errors are settings whose value
// cannot be told.
func planeOf(d *appsv1.Deployment) (ControlPlane, []error) {
	plane := ControlPlane{
		Namespace: d.Namespace, Name: d.Name, Revision: d.Labels["istio.io/rev"], Desired: desired(d), Updated: d.Status.UpdatedReplicas,
		Settled: settled(d), Paused: d.Spec.Paused, selector: d.Spec.Selector,
	}
	return plane.read(d.Spec.Template.Spec)
}

// planeOfPod describes an istiod that no Deployment owns, but a controller of this kind.
func planeOfPod(pod *corev1.Pod, name, kind string) (ControlPlane, []error) {
	plane := ControlPlane{Namespace: pod.Namespace, Name: name, Controller: cmp.Or(kind, "Pod"), Revision: pod.Labels["istio.io/rev"], Settled: true}
	return plane.read(pod.Spec)
}

func desired(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas != nil {
		return *d.Spec.Replicas
	}
	return 1
}

// settled: the controller has seen the last generation, and all its replicas are
// of it.
func settled(d *appsv1.Deployment) bool {
	n := desired(d)
	return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == n && d.Status.AvailableReplicas == n && d.Status.Replicas == n
}

func (c ControlPlane) read(spec corev1.PodSpec) (ControlPlane, []error) {
	container := istiodContainer(spec.Containers)
	if container == nil && len(spec.Containers) > 0 {
		container = &spec.Containers[0]
	}
	if container == nil {
		return c, []error{errors.New("it has no container")}
	}
	c.Image, c.Version, c.container = container.Image, versionOfImage(container.Image), container
	env := environment{container: container}
	c.Flags = env.flags(c.Version)
	if c.ClusterID = env.text("CLUSTER_ID", "Kubernetes"); c.ClusterID == "" {
		c.ClusterID = "Kubernetes" // istio 1.30.3 pilot/pkg/features/pilot.go, CLUSTER_ID
	}
	if c.Revision == "" {
		c.Revision = env.text("REVISION", "default")
	}
	c.shared = env.text("SHARED_MESH_CONFIG", "")
	c.audiences = audiencesOf(container, c.Version)
	c.byHand = byHand(container)
	c.meshFile = meshFileOf(spec, container)
	c.serves(spec)
	c.caFrom = c.caFiles(spec)
	return c, append(env.unknown, given(container)...)
}

// audiencesOf are whom a token may be for that an istiod takes: TOKEN_AUDIENCES, which came
// with 1.8.0 and is split at commas alone (istio 1.8.0 and 1.30.3 pkg/security/security.go).
func audiencesOf(container *corev1.Container, version string) []string {
	env := environment{container: container}
	if Before(version, "1.8.0") {
		return []string{tokenAudience}
	}
	return strings.Split(env.text("TOKEN_AUDIENCES", tokenAudience), ",")
}

// audience is whom a token is asked for: agents' own where that is among those taken. One
// that is not known is taken for theirs: istiod's answer tells.
func (c ControlPlane) audience() string {
	if len(c.audiences) == 0 || slices.Contains(c.audiences, tokenAudience) {
		return tokenAudience
	}
	return cmp.Or(c.audiences[0], tokenAudience)
}

// byHand are the kinds of webhooks that an istiod writes no caBundle into, with the setting
// that is empty: then whoever runs it does (istio 1.6.0 and 1.30.3
// pilot/pkg/bootstrap/sidecarinjector.go, initSidecarInjector, and validation.go,
// initConfigValidation). Only what is set to nothing is; unset is a name.
func byHand(container *corev1.Container) map[string]string {
	env, all := environment{container: container}, map[string]string{}
	for kind, setting := range map[string]string{mutating: "INJECTION_WEBHOOK_CONFIG_NAME", validating: "VALIDATION_WEBHOOK_CONFIG_NAME"} {
		if env.text(setting, "unset") == "" {
			all[kind] = setting
		}
	}
	return all
}

// environment reads a container's settings by value.
type environment struct {
	container *corev1.Container
	unknown   []error
}

// text is a setting's value. Of two with the same name the later counts, as it
// does for kubelet.
func (e *environment) text(name, fallback string) string {
	value := fallback
	var unknown error
	for _, v := range e.container.Env {
		if v.Name != name {
			continue
		}
		value, unknown = v.Value, nil
		if v.ValueFrom != nil || strings.Contains(v.Value, "$(") {
			value, unknown = fallback, whence(v)
		}
	}
	if unknown != nil {
		e.unknown = append(e.unknown, unknown)
	}
	return value
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

// flags are istiod's settings with the defaults of its release; one that the
// release does not know has no effect. An unknown
// release is taken for a recent one, and its own answers prove it.
func (e *environment) flags(version string) Flags {
	since := func(release string) bool { return !Before(version, release) }
	reload := true
	if Before(version, "1.19.0") {
		reload = e.boolean("AUTO_RELOAD_PLUGIN_CERTS", since("1.18.0")) && since("1.14.0")
	}
	f := Flags{
		MultiRoot:          e.boolean("ISTIO_MULTIROOT_MESH", false) && since("1.10.0"),
		AutoReload:         reload,
		CAServer:           e.boolean("ENABLE_CA_SERVER", true),
		ExternalCA:         e.text("EXTERNAL_CA", ""),
		CertProvider:       e.text("PILOT_CERT_PROVIDER", "istiod"),
		RootCADir:          e.text("ROOT_CA_DIR", "./etc/cacerts"),
		TrustConfigMap:     DefaultTrustConfigMap,
		CRLConfigMap:       DefaultCRLConfigMap,
		MaxWorkloadTTL:     e.duration("MAX_WORKLOAD_CERT_TTL", 90*24*time.Hour),
		DefaultWorkloadTTL: e.duration("DEFAULT_WORKLOAD_CERT_TTL", 24*time.Hour),
		// istio 1.30.3 pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go,
		// NewNamespaceController; maistra/istio's fork of it takes the member roll's.
		SomeNamespaces: e.text("ISTIO_WATCH_NAMESPACE", "") != "" || slices.ContainsFunc(e.container.Args, func(arg string) bool { return strings.HasPrefix(arg, "--memberRollName") }),
	}
	if name := e.text("PILOT_CA_CERT_CONFIGMAP", ""); name != "" && since("1.27.0") {
		f.TrustConfigMap = name
	}
	switch name := e.text("PILOT_CRL_CONFIGMAP", ""); {
	case !since("1.27.0"):
		f.CRLConfigMap = ""
	case name != "" && since("1.29.0"):
		f.CRLConfigMap = name
	}
	if on := e.boolean("ENABLE_CLUSTER_TRUST_BUNDLE_API", false); on && since("1.26.0") {
		f.ClusterTrustBundle = true
	}
	if on := e.boolean("USE_CACERTS_FOR_SELF_SIGNED_CA", false); on && since("1.19.6") {
		f.SelfSignedInCACerts = true
	} else if on && undecided(version, "1.19.6") {
		e.unknown = append(e.unknown, errors.New("USE_CACERTS_FOR_SELF_SIGNED_CA has an effect from 1.19.6 on, and which patch of "+version+" it is, is not known: have its image's tag name it"))
	}
	return f
}
