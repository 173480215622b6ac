package mesh

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func FuzzParseRelease(f *testing.F) {
	for _, text := range []string{"1.30.3", "1.31-rc.0", "1.20.1-asm.4", "1.-5", "latest", "1.99999999999999999999"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := ParseRelease(text)
		if !ok {
			return
		}
		if r.Major < 0 || r.Minor < 0 || r.Patch < 0 {
			t.Errorf("%q is release %+v", text, r)
		}
		if r.Compare(r) != 0 || Before(text, text) {
			t.Errorf("%q is before itself", text)
		}
	})
}

func FuzzProxyOf(f *testing.F) {
	f.Add([]byte(`{"metadata":{"annotations":{"proxy.istio.io/config":"statusPort: 1","status.sidecar.istio.io/port":"-1"}},"spec":{"containers":[{"name":"istio-proxy","image":"proxyv2:1.30.3","env":[{"name":"SECRET_TTL","value":"2m"},{"name":"PROXY_CONFIG","value":"{\"proxyAdminPort\":15001}"}]}]}}`))
	f.Add([]byte(`{"spec":{"initContainers":[{"name":"istio-proxy","restartPolicy":"Always","env":[{"name":"SECRET_GRACE_PERIOD_RATIO","value":"NaN"}]}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var pod corev1.Pod
		if yaml.Unmarshal(raw, &pod) != nil {
			return
		}
		p, ok := ProxyOf(&pod)
		if !ok {
			return
		}
		if p.AdminPort < 1 || p.AdminPort > 65535 || p.StatusPort < 1 || p.StatusPort > 65535 {
			t.Errorf("ports %d and %d", p.AdminPort, p.StatusPort)
		}
		if p.SecretTTL <= 0 || !(p.GraceRatio >= 0 && p.GraceRatio <= 1) || !(p.GraceJitter >= 0 && p.GraceJitter <= 1) {
			t.Errorf("a TTL of %s, a grace of %v +- %v", time.Duration(p.SecretTTL), p.GraceRatio, p.GraceJitter)
		}
	})
}

func FuzzMeshSettings(f *testing.F) {
	f.Add("trustDomain: td\ncaCertificates: [{pem: x}]\ndiscoverySelectors: [{matchLabels: {a: b}}]\n")
	f.Add("enableAutoMtls: maybe")
	f.Fuzz(func(t *testing.T, text string) {
		g := &gatherer{Collector: &Collector{}, s: &Snapshot{}}
		g.meshSettings(meshText{&corev1.ConfigMap{Data: map[string]string{"mesh": text}}, meshKey})
	})
}
