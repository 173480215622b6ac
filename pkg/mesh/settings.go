package mesh

import (
	"cmp"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
)

// Defaults of an agent (istio 1.30.3 pilot/cmd/pilot-agent/options/options.go:76).
const (
	defaultSecretTTL  = 24 * time.Hour
	defaultGraceRatio = 0.5
)

// Where certificates come from that istiod has not signed (istio 1.30.3
// pkg/security/security.go, WorkloadIdentityPath and the paths beside it).
const (
	spiffeSockets     = "/workload-spiffe-uds"
	spiffeCredentials = "/workload-spiffe-credentials"
)

// istiodRoots is where injection mounts the roots by which an agent knows istiod (istio
// 1.30.3 manifests/charts/istio-control/istio-discovery/files/injection-template.yaml).
const istiodRoots = "/var/run/secrets/istio"

// settings are an agent's, by value: the environment of its container, and nothing
// else. Injection writes proxyMetadata there (istio 1.30.3
// manifests/charts/istio-control/istio-discovery/files/injection-template.yaml:357),
// and the agent reads its options from there alone, so that an annotation added
// later, or a mesh config changed later, has no effect on a running proxy. What stands
// there by reference is not known.
type settings struct {
	env   environment
	spire bool
	files bool
	grpc  bool
	roots string
}

func settingsOf(pod *corev1.Pod, container *corev1.Container) settings {
	s := settings{env: environment{container: container, unknown: given(container)}, grpc: strings.Contains(pod.Annotations["inject.istio.io/templates"], "grpc-agent")}
	for _, env := range container.Env {
		// Files that listeners or clusters use instead of what the agent gets (istio 1.30.3
		// pkg/model/proxy.go:260).
		for _, side := range []string{"ISTIO_META_TLS_SERVER_", "ISTIO_META_TLS_CLIENT_"} {
			s.files = s.files || strings.HasPrefix(env.Name, side) && s.env.text(env.Name, "") != ""
		}
	}
	volumes := map[string]corev1.Volume{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = v
	}
	for _, m := range container.VolumeMounts {
		// Injection mounts empty directories at both paths: another volume there is
		// what the agent finds its certificate, or the socket of SPIRE, in.
		volume, found := volumes[m.Name]
		foreign := found && volume.EmptyDir == nil
		switch path := strings.TrimRight(m.MountPath, "/"); {
		case volume.CSI != nil && volume.CSI.Driver == "csi.spiffe.io", foreign && strings.HasSuffix(path, spiffeSockets):
			s.spire = true
		case foreign && strings.HasSuffix(path, spiffeCredentials):
			s.files = true
		case path == istiodRoots:
			s.roots = rootsOf(volume)
		}
	}
	return s
}

// rootsOf names the ConfigMap or the ClusterTrustBundle of a volume, "" where it is of
// something else.
func rootsOf(volume corev1.Volume) string {
	if volume.ConfigMap != nil {
		return volume.ConfigMap.Name
	}
	if volume.Projected == nil {
		return ""
	}
	for _, source := range volume.Projected.Sources {
		switch {
		case source.ConfigMap != nil:
			return source.ConfigMap.Name
		case source.ClusterTrustBundle != nil && source.ClusterTrustBundle.Name != nil:
			return *source.ClusterTrustBundle.Name
		}
	}
	return ""
}

func (s settings) apply(p *Proxy) {
	value := func(name string) string { return s.env.text(name, "") }
	p.SecretTTL, p.GraceRatio, p.GraceJitter = Duration(defaultSecretTTL), defaultGraceRatio, graceJitter
	if d, err := time.ParseDuration(value("SECRET_TTL")); err == nil && d > 0 {
		p.SecretTTL = Duration(d)
	}
	if r, err := strconv.ParseFloat(value("SECRET_GRACE_PERIOD_RATIO"), 64); err == nil && r >= 0 && r <= 1 {
		p.GraceRatio = r
	}
	if r, err := strconv.ParseFloat(value("SECRET_GRACE_PERIOD_RATIO_JITTER"), 64); err == nil && r >= 0 && r <= 1 {
		p.GraceJitter = r
	}
	on := func(name string) bool { b, _ := strconv.ParseBool(value(name)); return b }
	// CA_ADDRESS is a ztunnel's, and an agentgateway's.
	p.CAProvider, p.CAAddr = value("CA_PROVIDER"), cmp.Or(value("CA_ADDR"), value("CA_ADDRESS"))
	p.XDSAgent = on("PROXY_CONFIG_XDS_AGENT")
	p.FileMounted = on("FILE_MOUNTED_CERTS") || s.files || p.CAProvider == "GkeWorkloadCertificate"
	p.ReadsCRL = value("CRL_PATH") != ""
	p.OutputCerts, p.ProvCert = value("OUTPUT_CERTS"), value("PROV_CERT")
	// They come before what is mounted (istio 1.30.3 pkg/istio-agent/agent.go,
	// FindRootCAForCA and FindRootCAForXDS; ztunnel 1.30.3 src/config.rs has both too).
	for _, name := range []string{"CA_ROOT_CA", "XDS_ROOT_CA"} {
		if file := value(name); file != "" && path.Join("/", file) != istiodRoots+"/"+pki.RootFile {
			p.OwnRoots = cmp.Or(p.OwnRoots, file)
		}
	}
	p.SPIRE, p.GRPCAgent, p.RootsFrom = s.spire, s.grpc, s.roots
	for _, err := range s.env.unknown {
		if !strings.Contains(p.Unsaid, err.Error()) {
			p.Unsaid = strings.TrimPrefix(p.Unsaid+"; "+err.Error(), "; ")
		}
	}
	if p.GRPCAgent && p.OutputCerts == "" {
		p.OutputCerts = "/var/lib/istio/data" // the template's own (istio 1.30.3 files/grpc-agent.yaml)
	}
}
