package mesh_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestFlags: by value, with the defaults of the release, and only where the
// release knows the flag.
func TestFlags(t *testing.T) {
	multi := func(f mesh.Flags) any { return f.MultiRoot }
	reload := func(f mesh.Flags) any { return f.AutoReload }
	trust := func(f mesh.Flags) any { return f.TrustConfigMap }
	elsewhere := []corev1.EnvVar{{Name: "ISTIO_MULTIROOT_MESH", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: "x"}}}}
	for i, test := range []struct {
		version string
		env     []corev1.EnvVar
		of      func(mesh.Flags) any
		want    any
		gap     bool
	}{
		{"1.30.3", nil, multi, false, false},
		{"1.30.3", env("ISTIO_MULTIROOT_MESH", "true"), multi, true, false},
		{"1.30.3", env("ISTIO_MULTIROOT_MESH", "1"), multi, true, false},
		{"1.30.3", env("ISTIO_MULTIROOT_MESH", "t"), multi, true, false},
		{"1.30.3", env("ISTIO_MULTIROOT_MESH", "TRUE"), multi, true, false},
		{"1.30.3", env("ISTIO_MULTIROOT_MESH", "yes"), multi, false, false},
		{"1.30.3", env("ISTIO_MULTIROOT_MESH", ""), multi, false, false},
		{"1.30.3", env("ISTIO_MULTIROOT_MESH", "false"), multi, false, false},
		{"1.30.3", env("ISTIO_MULTIROOT_MESH", "true", "ISTIO_MULTIROOT_MESH", "false"), multi, false, false},
		{"1.30.3", env("ISTIO_MULTIROOT_MESH", "$(OTHER)"), multi, false, true},
		{"1.30.3", elsewhere, multi, false, true},
		{"1.9.9", env("ISTIO_MULTIROOT_MESH", "true"), multi, false, false},
		{"", env("ISTIO_MULTIROOT_MESH", "true"), multi, true, false},

		{"1.13.9", env("AUTO_RELOAD_PLUGIN_CERTS", "true"), reload, false, false},
		{"1.14.0", nil, reload, false, false},
		{"1.14.0", env("AUTO_RELOAD_PLUGIN_CERTS", "true"), reload, true, false},
		{"1.17.9", env("AUTO_RELOAD_PLUGIN_CERTS", "1"), reload, true, false},
		{"1.18.0", nil, reload, true, false},
		{"1.18.0", env("AUTO_RELOAD_PLUGIN_CERTS", "false"), reload, false, false},
		{"1.19.0", env("AUTO_RELOAD_PLUGIN_CERTS", "false"), reload, true, false},
		{"", env("AUTO_RELOAD_PLUGIN_CERTS", "false"), reload, true, false},

		{"1.30.3", nil, trust, "istio-ca-root-cert", false},
		{"1.27.0", env("PILOT_CA_CERT_CONFIGMAP", "x"), trust, "x", false},
		{"1.26.9", env("PILOT_CA_CERT_CONFIGMAP", "x"), trust, "istio-ca-root-cert", false},

		{"1.26.0", env("ENABLE_CLUSTER_TRUST_BUNDLE_API", "true"), func(f mesh.Flags) any { return f.ClusterTrustBundle }, true, false},
		{"1.25.9", env("ENABLE_CLUSTER_TRUST_BUNDLE_API", "true"), func(f mesh.Flags) any { return f.ClusterTrustBundle }, false, false},
		{"1.19.6", env("USE_CACERTS_FOR_SELF_SIGNED_CA", "true"), func(f mesh.Flags) any { return f.SelfSignedInCACerts }, true, false},
		{"1.30.3", nil, func(f mesh.Flags) any { return f.CAServer }, true, false},
		{"1.30.3", nil, func(f mesh.Flags) any { return f.CertProvider }, "istiod", false},
		{"1.30.3", env("ROOT_CA_DIR", "/x"), func(f mesh.Flags) any { return f.RootCADir }, "/x", false},
		{"1.30.3", env("MAX_WORKLOAD_CERT_TTL", "48h", "DEFAULT_WORKLOAD_CERT_TTL", "soon"), func(f mesh.Flags) any { return fmt.Sprint(f.MaxWorkloadTTL, f.DefaultWorkloadTTL) }, fmt.Sprint(int64(48*3600e9), int64(24*3600e9)), false},
	} {
		image := "hub/pilot:" + test.version
		if test.version == "" {
			image = "hub/pilot@sha256:00"
		}
		d := istiod("default", image, test.env...)
		c, _ := collector(nil, d, replica(d, "x"))
		s := collect(t, c)
		if got := test.of(s.ControlPlanes[0].Flags); fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("row %d: %s %v: %v, want %v", i, test.version, test.env, got, test.want)
		}
		unknown := slices.ContainsFunc(s.Gaps, func(g mesh.Gap) bool { return g.Part == "settings of istio-system/istiod" })
		if unknown != test.gap {
			t.Errorf("row %d: gaps %+v", i, s.Gaps)
		}
	}
}

func TestEnvFromIsUnknown(t *testing.T) {
	d := istiod("default", "hub/pilot:1.30.3")
	d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{}}}
	c, _ := collector(nil, d, replica(d, "x"))
	if s := collect(t, c); len(s.Gaps) != 1 {
		t.Errorf("%+v", s.Gaps)
	}
}

func TestClusterID(t *testing.T) {
	for value, want := range map[string]string{"": "Kubernetes", "east": "east"} {
		d := istiod("default", "hub/pilot:1.30.3", env("CLUSTER_ID", value)...)
		c, _ := collector(nil, d, replica(d, "x"))
		if got := collect(t, c).ControlPlanes[0].ClusterID; got != want {
			t.Errorf("%q: %q", value, got)
		}
	}
}

func TestParseRelease(t *testing.T) {
	for text, want := range map[string]mesh.Release{
		"1.20":           {Major: 1, Minor: 20},
		"1.20.1":         {Major: 1, Minor: 20, Patch: 1},
		"1.31.0-rc.0":    {Major: 1, Minor: 31, Pre: "rc.0"},
		"1.20.3-asm.4":   {Major: 1, Minor: 20, Patch: 3},
		"1.18-alpha.1ab": {Major: 1, Minor: 18, Pre: "alpha.1ab"},
	} {
		if got, ok := mesh.ParseRelease(text); !ok || got != want {
			t.Errorf("%s: %+v %t", text, got, ok)
		}
	}
	for _, text := range []string{"", "1", "latest", "v1.20.1", "unknown"} {
		if got, ok := mesh.ParseRelease(text); ok {
			t.Errorf("%q was taken for %+v", text, got)
		}
		if mesh.Before(text, "1.0.0") || mesh.Before("1.0.0", text) {
			t.Errorf("%q is neither old nor new", text)
		}
	}
	order := []string{"1.9.0", "1.30.0-alpha.1", "1.30.0-rc.0", "1.30.0", "1.30.1"}
	for i, a := range order {
		for j, b := range order {
			if mesh.Before(a, b) != (i < j) {
				t.Errorf("%s before %s: %t", a, b, i >= j)
			}
		}
	}
}

// Settings of an istiod may stand in ConfigMaps, as envVarFrom of the charts and envFrom
// have it: they are read there. What stands in a Secret, or was changed since the istiod
// started, is not known.
func TestSettingsFromConfigMaps(t *testing.T) {
	yes := true
	local := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	key := func(name, key string, optional *bool) corev1.EnvVar {
		return corev1.EnvVar{Name: "ISTIO_MULTIROOT_MESH", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: local(name), Key: key, Optional: optional}}}
	}
	all := func(name, prefix string, optional *bool) corev1.EnvFromSource {
		return corev1.EnvFromSource{Prefix: prefix, ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local(name), Optional: optional}}
	}
	secret := corev1.EnvVar{Name: "ISTIO_MULTIROOT_MESH", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local("flags"), Key: "multi"}}}
	for name, test := range map[string]struct {
		env     []corev1.EnvVar
		from    []corev1.EnvFromSource
		written time.Duration // after the pod was made
		multi   bool
		gap     string
	}{
		"a key":                            {env: []corev1.EnvVar{key("flags", "multi", nil)}, multi: true},
		"a key that is not there":          {env: []corev1.EnvVar{key("flags", "none", nil)}, gap: "the ConfigMap flags"},
		"one that need not be there":       {env: []corev1.EnvVar{key("flags", "none", &yes)}},
		"a map that need not be there":     {env: []corev1.EnvVar{key("none", "multi", &yes)}},
		"a key, and its value behind it":   {env: append([]corev1.EnvVar{key("flags", "none", nil)}, env("ISTIO_MULTIROOT_MESH", "true")...), multi: true},
		"all of it":                        {from: []corev1.EnvFromSource{all("flags", "ISTIO_", nil)}, multi: true},
		"all of it, without the prefix":    {from: []corev1.EnvFromSource{all("flags", "", nil)}},
		"all of it, and its own after all": {from: []corev1.EnvFromSource{all("flags", "ISTIO_", nil)}, env: env("ISTIO_MULTIROOT_MESH", "false")},
		"all of one that is not there":     {from: []corev1.EnvFromSource{all("none", "", nil)}, gap: "envFrom"},
		"all of one that need not be":      {from: []corev1.EnvFromSource{all("none", "", &yes)}},
		"a Secret":                         {env: []corev1.EnvVar{secret}, gap: "the Secret flags"},
		"written since it started":         {env: []corev1.EnvVar{key("flags", "multi", nil)}, written: time.Minute, multi: true, gap: "restart it"},
	} {
		d := istiod("default", "hub/pilot:1.30.3", test.env...)
		d.Spec.Template.Spec.Containers[0].EnvFrom = test.from
		pod := replica(d, "x")
		pod.CreationTimestamp = *pod.Status.StartTime
		written := metav1.NewTime(pod.Status.StartTime.Add(test.written - time.Second))
		flags := configMap("istio-system", "flags", map[string]string{"multi": "true", "MULTIROOT_MESH": "true"})
		flags.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl", Time: &written}}
		c, _ := collector(nil, d, pod, flags)
		s := collect(t, c)
		if got := s.ControlPlanes[0].Flags.MultiRoot; got != test.multi {
			t.Errorf("%s: %t", name, got)
		}
		if test.gap == "" && len(s.Gaps) > 0 || test.gap != "" && (len(s.Gaps) != 1 || !strings.Contains(s.Gaps[0].Error, test.gap)) {
			t.Errorf("%s: %+v", name, s.Gaps)
		}
	}
}
