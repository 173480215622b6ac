package mesh_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestG16_CitadelMounts: on a mesh of Citadel's time applications read certificate and roots
// from its Secrets, as the charts' Prometheus does; a proxy, a component that has rules of
// its own, and a Secret of somebody else's are none of them.
func TestG16_CitadelMounts(t *testing.T) {
	mount := corev1.VolumeMount{Name: "istio-certs", MountPath: "/etc/istio-certs"}
	pod := func(name, role, secret string, containers ...corev1.Container) *corev1.Pod {
		p := running("istio-system", name, map[string]string{"istio": role}, containers...)
		p.Spec.Volumes = []corev1.Volume{{Name: "istio-certs", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}}
		return p
	}
	app := corev1.Container{Name: "app", VolumeMounts: []corev1.VolumeMount{mount}}
	sidecar := agent()
	sidecar.VolumeMounts = []corev1.VolumeMount{mount}
	_, _, objects := oldMesh(t)
	c, _ := collector(nil, append(objects, pod("prometheus", "", "istio.default", app), pod("galley-9", "galley", "istio.istio-galley-service-account", app), pod("web", "", "web-tls", app), pod("proxied", "", "istio.default", sidecar))...)
	mounts := collect(t, c).TrustMounts
	if len(mounts) != 1 || mounts[0].Pod != "prometheus" || mounts[0].Secret != "istio.default" || mounts[0].Path != "/etc/istio-certs" || mounts[0].Fixed {
		t.Errorf("%+v", mounts)
	}
	c, _ = collector(nil, istiod("default", "hub/pilot:1.30.3"), pod("prometheus", "", "istio.default", app))
	if mounts := collect(t, c).TrustMounts; len(mounts) != 0 {
		t.Errorf("there is no Citadel: %+v", mounts)
	}
}

// TestG16_TrustMounts: applications that read the trust ConfigMap are found, not
// the proxy beside them, and a subPath is told.
func TestG16_TrustMounts(t *testing.T) {
	proxy := agent()
	proxy.VolumeMounts = []corev1.VolumeMount{{Name: "roots", MountPath: "/var/run/secrets/istio"}}
	app := corev1.Container{Name: "app", VolumeMounts: []corev1.VolumeMount{{Name: "roots", MountPath: "/ca"}, {Name: "more", MountPath: "/ca.pem", SubPath: "root-cert.pem"}, {Name: "other", MountPath: "/x"}}}
	pod := running("a", "web-h-1", map[string]string{"pod-template-hash": "h"}, proxy, app)
	pod.OwnerReferences = controlledBy("ReplicaSet", "web-h")
	source := func(name string) *corev1.ConfigMapVolumeSource {
		return &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}
	}
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "roots", VolumeSource: corev1.VolumeSource{ConfigMap: source("istio-ca-root-cert")}},
		{Name: "more", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "istio-ca-root-cert"}}}}}}},
		{Name: "other", VolumeSource: corev1.VolumeSource{ConfigMap: source("other")}},
	}
	ended := pod.DeepCopy()
	ended.Name, ended.Status.Phase = "ended", corev1.PodSucceeded
	c, _ := collector(nil, istiod("default", "hub/pilot:1.30.3"), pod, ended)
	mounts := collect(t, c).TrustMounts
	if len(mounts) != 2 || mounts[0].Container != "app" || mounts[0].Fixed || !mounts[1].Fixed || mounts[1].Path != "/ca.pem" || mounts[1].Workload.Name != "web" {
		t.Errorf("%+v", mounts)
	}
}
