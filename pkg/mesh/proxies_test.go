package mesh

import (
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestVersionOfImage(t *testing.T) {
	for image, want := range map[string]string{
		"docker.io/istio/proxyv2:1.22.3":                                "1.22.3",
		"registry.local:5000/istio/proxyv2:1.22.3-distroless":           "1.22.3",
		"gcr.io/x/proxyv2:1.31.0-rc.0":                                  "1.31.0-rc.0",
		"hub/proxyv2:1.20.1@sha256:0000000000000000000000000000000000a": "1.20.1",
		"hub/proxyv2@sha256:00000000000000000000000000000000000000000a": "",
		"registry.local:5000/proxyv2":                                   "",
		"hub/proxyv2:latest":                                            "",
		"hub/proxyv2:1":                                                 "",
		"hub/proxyv2:release-1.20":                                      "",
		"hub/proxyv2-rhel8:2.5.0":                                       "", // a vendor's own count
		"hub/proxyv2:2024.5.1":                                          "", // a company's
		"hub/proxyv2:0.8.0":                                             "0.8.0",
		"":                                                              "",
	} {
		if got := versionOfImage(image); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}

func TestProxyOf(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	agent := corev1.Container{Name: "istio-proxy", Image: "hub/proxyv2:1.24.0", Args: []string{"proxy", "sidecar"}}
	token := []corev1.Volume{{Name: "istio-token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "istio-ca", Path: "istio-token"}}}}}}}
	holder := func(name string) corev1.Container {
		return corev1.Container{Name: name, Image: "hub/" + name + ":0.11.1", VolumeMounts: []corev1.VolumeMount{{Name: "istio-token", MountPath: "/var/run/secrets/tokens"}}}
	}
	managed := func(by string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Labels: map[string]string{"gateway.istio.io/managed": by}}
	}
	for name, test := range map[string]struct {
		pod    corev1.Pod
		found  bool
		kind   ProxyKind
		native bool
		admin  int
		opaque bool
	}{
		"agentgateway":                {pod: corev1.Pod{ObjectMeta: managed("istio.io-agentgateway-controller"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "agentgateway"}}}}, found: true, kind: Gateway, admin: 15000, opaque: true},
		"agentgateway as a waypoint":  {pod: corev1.Pod{ObjectMeta: managed("istio.io-agentgateway-waypoint-controller"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "agentgateway"}}}}, found: true, kind: Waypoint, admin: 15000, opaque: true},
		"another with a mesh's token": {pod: corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}, holder("own-agent")}, Volumes: token}}, found: true, kind: Sidecar, admin: 15000, opaque: true},
		"a sidecar beside such":       {pod: corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{holder("own-agent"), agent}, Volumes: token}}, found: true, kind: Sidecar, admin: 15000},
		"a token that nobody mounts":  {pod: corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}, Volumes: token}}},
		"istiod's own token":          {pod: corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{holder("discovery")}, Volumes: token}}},
		"sidecar":                     {pod: corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}, agent}}}, found: true, kind: Sidecar, admin: 15000},
		"native sidecar": {pod: corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{
			Name: "istio-proxy", RestartPolicy: &always,
		}}}}, found: true, kind: Sidecar, native: true, admin: 15000},
		"an init container that ends": {pod: corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "istio-proxy"}}}}},
		"gateway":                     {pod: corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "istio-proxy", Args: []string{"proxy", "router"}}}}}, found: true, kind: Gateway, admin: 15000},
		"waypoint":                    {pod: corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "istio-proxy", Args: []string{"proxy", "waypoint"}}}}}, found: true, kind: Waypoint, admin: 15000},
		"ztunnel": {pod: corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "ztunnel"}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{holder("istio-proxy")}, Volumes: token}}, found: true, kind: Ztunnel, admin: 15000},
		"ended":      {pod: corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{agent}}, Status: corev1.PodStatus{Phase: corev1.PodSucceeded}}},
		"no sidecar": {pod: corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}},
		"admin port by annotation": {pod: corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"proxy.istio.io/config": "proxyAdminPort: 16000"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{agent}}}, found: true, kind: Sidecar, admin: 16000},
		"admin port by injected config": {pod: corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "istio-proxy", Env: []corev1.EnvVar{{Name: "PROXY_CONFIG", Value: `{"proxyAdminPort":17000}`}},
		}}}}, found: true, kind: Sidecar, admin: 17000},
		"admin port by argument": {pod: corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "istio-proxy", Args: []string{"--proxyAdminPort", "18000"},
		}}}}, found: true, kind: Sidecar, admin: 18000},
	} {
		t.Run(name, func(t *testing.T) {
			p, found := ProxyOf(&test.pod)
			if found != test.found {
				t.Fatalf("found %t", found)
			}
			if p.Opaque && p.Version != "" {
				t.Errorf("release %s is none of Istio's", p.Version)
			}
			if found && (p.Kind != test.kind || p.Native != test.native || p.AdminPort != test.admin || p.Opaque != test.opaque) {
				t.Errorf("%s, native %t, admin port %d, opaque %t", p.Kind, p.Native, p.AdminPort, p.Opaque)
			}
		})
	}
}

// An Envoy's release is what it says, else what its Istio came with.
func TestEnvoyMinor(t *testing.T) {
	loaded := func(envoy string) *proxy.Loaded { return &proxy.Loaded{Info: proxy.Info{Envoy: envoy}} }
	for name, row := range map[string]struct {
		p    Proxy
		want int
	}{
		"by its own word":      {Proxy{Version: "1.22.3", Loaded: loaded("1.33.1")}, 33},
		"by its Istio":         {Proxy{Version: "1.22.3", Loaded: loaded("")}, 30},
		"unread":               {Proxy{Version: "1.19.0"}, 27},
		"before its own Envoy": {Proxy{Version: "1.4.10"}, 0},
		"nothing is known":     {Proxy{}, 0},
		"a ztunnel":            {Proxy{Kind: Ztunnel, Version: "1.24.0"}, 0},
	} {
		if got := row.p.EnvoyMinor(); got != row.want {
			t.Errorf("%s: %d", name, got)
		}
	}
}
