package rehearsal

import (
	"cmp"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	admissionv1 "k8s.io/api/admissionregistration/v1"
)

// plane is one control plane: a Deployment of istiod and its webhooks.
type plane struct {
	Revision
	deployment string
	rollouts   int // how many of its Deployment have begun
}

const defaultRevision = "default"

// planes are the default control plane and the other revisions.
func planesOf(spec Spec) []*plane {
	all := []*plane{{Revision: Revision{Name: cmp.Or(spec.DefaultName, defaultRevision), Release: spec.Release, Replicas: spec.Replicas, MultiRoot: spec.MultiRoot, Env: spec.Env}, deployment: cmp.Or(spec.Deployment, "istiod")}}
	for _, r := range spec.Revisions {
		r.Release = cmp.Or(r.Release, spec.Release)
		all = append(all, &plane{Revision: r, deployment: "istiod-" + r.Name})
	}
	return all
}

// reloads: the files of a plugged CA are watched.
func (p *plane) reloads() bool {
	flag := p.Env["AUTO_RELOAD_PLUGIN_CERTS"]
	switch {
	case fixed(p.Release, "1.19.0"):
		return true
	case fixed(p.Release, "1.18.0"):
		return flag != "false"
	}
	return fixed(p.Release, "1.14.0") && flag == "true"
}

func (p *plane) labels() map[string]string {
	return map[string]string{"app": "istiod", "istio": "pilot", "istio.io/rev": p.Name}
}

func (p *plane) env() []corev1.EnvVar {
	flag := "false"
	if p.MultiRoot {
		flag = "true"
	}
	all := []corev1.EnvVar{{Name: "ISTIO_MULTIROOT_MESH", Value: flag}}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		all = append(all, corev1.EnvVar{Name: name, Value: p.Env[name]})
	}
	return all
}

func (p *plane) object() *appsv1.Deployment {
	n := int32(p.Replicas)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: istioNamespace, Name: p.deployment, Labels: map[string]string{"app": "istiod", "istio.io/rev": p.Name}, Generation: 1, ResourceVersion: "1"}}
	d.Spec.Replicas = &n
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"istio": "pilot", "istio.io/rev": p.Name}}
	d.Spec.Template.Labels = p.labels()
	// As the charts mount istio-csr's certificate, where there is one (istio 1.30.3
	// manifests/charts/istio-control/istio-discovery/templates/deployment.yaml:260, 292).
	optional := true
	d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "istio-csr-dns-cert", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "istiod-tls", Optional: &optional}}}}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "discovery", Image: "istio/pilot:" + p.Release, Env: p.env(),
		VolumeMounts: []corev1.VolumeMount{{Name: "istio-csr-dns-cert", MountPath: "/var/run/secrets/istiod/tls", ReadOnly: true}}}}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
	return d
}

func (p *plane) webhook() *admissionv1.MutatingWebhookConfiguration {
	name := "istio-sidecar-injector"
	if p.Name != defaultRevision {
		name += "-" + p.Name
	}
	return &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"istio.io/rev": p.Name}, ResourceVersion: "1"},
		Webhooks: []admissionv1.MutatingWebhook{{Name: "namespace.sidecar-injector.istio.io", ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: istioNamespace, Name: p.deployment}}}}}
}

// replicas are the plane's istiods.
func (m *Mesh) replicas(p *plane) (all []*istiod) {
	for _, i := range m.istiods {
		if i.plane == p {
			all = append(all, i)
		}
	}
	return all
}

// leader writes the trust ConfigMaps: a replica of the default revision, the one
// that has lived longest.
func (m *Mesh) leader() *istiod {
	for _, p := range m.planes {
		if all := m.replicas(p); len(all) > 0 {
			return all[0]
		}
	}
	return nil
}

// planeOf is the control plane of a proxy, by its revision.
func (m *Mesh) planeOf(p *sidecar) *plane {
	for _, plane := range m.planes {
		if plane.Name == cmp.Or(p.workload.Revision, defaultRevision) {
			return plane
		}
	}
	return m.planes[0]
}
