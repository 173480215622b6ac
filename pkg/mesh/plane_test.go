package mesh_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
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
