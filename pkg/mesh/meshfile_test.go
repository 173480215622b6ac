package mesh_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// The mesh config is read where istiod reads it: a file that is mounted counts, and the
// ConfigMap of its revision only where there is none. What cannot be read is said.
func TestMeshConfigByFile(t *testing.T) {
	from := func(name string, items ...corev1.KeyToPath) corev1.VolumeSource {
		return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items}}
	}
	for name, row := range map[string]struct {
		volume corev1.VolumeSource
		mount  corev1.VolumeMount
		args   []string
		want   string
		gaps   int
	}{
		"none":                    {corev1.VolumeSource{}, corev1.VolumeMount{MountPath: "/etc/cacerts"}, nil, "revision.example", 0},
		"another ConfigMap":       {from("own"), corev1.VolumeMount{MountPath: "/etc/istio/config"}, nil, "own.example", 0},
		"another entry":           {from("own", corev1.KeyToPath{Key: "config.yaml", Path: "mesh"}), corev1.VolumeMount{MountPath: "/etc/istio/config/"}, nil, "entry.example", 0},
		"another path":            {from("own"), corev1.VolumeMount{MountPath: "/own"}, []string{"discovery", "--meshConfig=/own/config.yaml"}, "entry.example", 0},
		"a path of two words":     {from("own"), corev1.VolumeMount{MountPath: "/own"}, []string{"discovery", "--meshConfig", "./own/config.yaml"}, "entry.example", 0},
		"one entry alone":         {from("own"), corev1.VolumeMount{MountPath: "/etc/istio/config/mesh", SubPath: "config.yaml"}, nil, "entry.example", 0},
		"an entry that is not":    {from("own"), corev1.VolumeMount{MountPath: "/own"}, []string{"--meshConfig=/own/absent"}, "revision.example", 0},
		"other entries":           {from("own", corev1.KeyToPath{Key: "mesh", Path: "x"}), corev1.VolumeMount{MountPath: "/etc/istio/config"}, nil, "revision.example", 0},
		"a ConfigMap that is not": {from("gone"), corev1.VolumeMount{MountPath: "/etc/istio/config"}, nil, "revision.example", 0},
		"a Secret":                {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}, corev1.VolumeMount{MountPath: "/etc/istio/config"}, nil, "cluster.local", 1},
		"a Secret above":          {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}, corev1.VolumeMount{MountPath: "/etc/istio"}, nil, "cluster.local", 1},
	} {
		d := istiod("default", "hub/pilot:1.30.3")
		c := &d.Spec.Template.Spec.Containers[0]
		row.mount.Name, c.Args = "v", row.args
		c.VolumeMounts = []corev1.VolumeMount{row.mount}
		d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: row.volume}}
		collector, _ := collector(nil, d,
			configMap("istio-system", "istio", map[string]string{"mesh": "trustDomain: revision.example"}),
			configMap("istio-system", "own", map[string]string{"mesh": "trustDomain: own.example", "config.yaml": "trustDomain: entry.example"}))
		if s := collect(t, collector); s.TrustDomain != row.want || len(s.Gaps) != row.gaps {
			t.Errorf("%s: %s, %+v", name, s.TrustDomain, s.Gaps)
		}
	}
}
