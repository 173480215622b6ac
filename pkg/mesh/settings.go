package mesh

import (
	"maps"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Defaults of an agent (istio 1.30.3 pilot/cmd/pilot-agent/options/options.go:76).
const (
	defaultSecretTTL  = 24 * time.Hour
	defaultGraceRatio = 0.5
)

// settings are an agent's, by name: the container's environment, which is what
// counts, and the proxyMetadata of the proxy config that injection wrote.
type settings struct {
	values map[string]string
	spire  bool
	files  bool
	grpc   bool
}

func settingsOf(pod *corev1.Pod, container *corev1.Container) settings {
	s := settings{values: map[string]string{}, grpc: strings.Contains(pod.Annotations["inject.istio.io/templates"], "grpc-agent")}
	metadata := func(text string) {
		var config struct {
			ProxyMetadata map[string]string `json:"proxyMetadata"`
		}
		if yaml.Unmarshal([]byte(text), &config) == nil {
			maps.Copy(s.values, config.ProxyMetadata)
		}
	}
	for _, env := range container.Env {
		if env.Name == "PROXY_CONFIG" {
			metadata(env.Value)
		}
	}
	metadata(pod.Annotations["proxy.istio.io/config"])
	for _, env := range container.Env {
		if env.ValueFrom == nil {
			s.values[env.Name] = env.Value
		}
	}
	mounted := map[string]bool{}
	for _, m := range container.VolumeMounts {
		mounted[m.Name] = true
	}
	for _, v := range pod.Spec.Volumes {
		if !mounted[v.Name] {
			continue
		}
		switch {
		case v.CSI != nil && v.CSI.Driver == "csi.spiffe.io":
			s.spire = true
		case v.Name == "workload-certs" && v.EmptyDir == nil:
			s.files = true // injection's own is an empty directory
		}
	}
	return s
}

func (s settings) apply(p *Proxy) {
	p.SecretTTL, p.GraceRatio = Duration(defaultSecretTTL), defaultGraceRatio
	if d, err := time.ParseDuration(s.values["SECRET_TTL"]); err == nil {
		p.SecretTTL = Duration(d)
	}
	if r, err := strconv.ParseFloat(s.values["SECRET_GRACE_PERIOD_RATIO"], 64); err == nil && r >= 0 && r <= 1 {
		p.GraceRatio = r
	}
	on := func(name string) bool { b, _ := strconv.ParseBool(s.values[name]); return b }
	p.XDSAgent, p.FileMounted = on("PROXY_CONFIG_XDS_AGENT"), on("FILE_MOUNTED_CERTS") || s.files
	p.CAProvider, p.CAAddr = s.values["CA_PROVIDER"], s.values["CA_ADDR"]
	p.OutputCerts, p.ProvCert = s.values["OUTPUT_CERTS"], s.values["PROV_CERT"]
	p.SPIRE, p.GRPCAgent = s.spire, s.grpc
	if p.GRPCAgent && p.OutputCerts == "" {
		p.OutputCerts = "/var/lib/istio/data" // the template's own (istio 1.30.3 agent.go:468)
	}
}
