package mesh_test

import (
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestReachOf(t *testing.T) {
	hot := mesh.ControlPlane{Namespace: "istio-system", Name: "istiod", Revision: "default", Version: "1.30.3", Flags: mesh.Flags{MultiRoot: true, CAServer: true}}
	canary := hot
	canary.Name, canary.Revision, canary.Flags.MultiRoot = "istiod-canary", "canary", false
	sidecar := mesh.Proxy{Kind: mesh.Sidecar, Version: "1.30.3", XDSAgent: true, Revision: "default", GraceRatio: 0.5}
	with := func(change func(*mesh.Proxy)) mesh.Proxy { p := sidecar; change(&p); return p }
	planes := func(change func(*mesh.ControlPlane)) []mesh.ControlPlane {
		c := hot
		change(&c)
		return []mesh.ControlPlane{c}
	}
	for name, test := range map[string]struct {
		proxy  mesh.Proxy
		planes []mesh.ControlPlane
		want   mesh.Reach
		why    string
	}{
		"both flags":              {sidecar, nil, mesh.ReachPush, "both flags"},
		"no agent over XDS":       {with(func(p *mesh.Proxy) { p.XDSAgent = false }), nil, mesh.ReachRenewal, "every 12h0m0s"},
		"its own TTL":             {with(func(p *mesh.Proxy) { p.XDSAgent = false; p.SecretTTL = mesh.Duration(3600e9); p.GraceRatio = 0.25 }), nil, mesh.ReachRenewal, "every 45m0s"},
		"no multi-root":           {sidecar, planes(func(c *mesh.ControlPlane) { c.Flags.MultiRoot = false }), mesh.ReachRenewal, "ISTIO_MULTIROOT_MESH"},
		"an old istiod":           {sidecar, planes(func(c *mesh.ControlPlane) { c.Version = "1.19.9" }), mesh.ReachRenewal, "istiod 1.19.9"},
		"the first istiod":        {sidecar, planes(func(c *mesh.ControlPlane) { c.Version = "1.20.0" }), mesh.ReachPush, ""},
		"an unknown istiod":       {sidecar, planes(func(c *mesh.ControlPlane) { c.Version = "" }), mesh.ReachPush, "its own answers"},
		"an old agent":            {with(func(p *mesh.Proxy) { p.Version = "1.20.0" }), nil, mesh.ReachRenewal, "agent 1.20.0"},
		"the first agent":         {with(func(p *mesh.Proxy) { p.Version = "1.20.1" }), nil, mesh.ReachPush, ""},
		"an unknown agent":        {with(func(p *mesh.Proxy) { p.Version = "" }), nil, mesh.ReachUnknown, "not known"},
		"an agent of no release":  {with(func(p *mesh.Proxy) { p.Version = "latest" }), nil, mesh.ReachUnknown, "not known"},
		"an agent that starts":    {with(func(p *mesh.Proxy) { p.Version = ""; p.Starting = true }), nil, mesh.ReachPush, "not started"},
		"an agent by its word":    {with(func(p *mesh.Proxy) { p.Version = ""; p.Loaded = &proxy.Loaded{Info: proxy.Info{Istio: "1.20.0"}} }), nil, mesh.ReachRenewal, "agent 1.20.0"},
		"an agent by its Envoy":   {with(func(p *mesh.Proxy) { p.Version = ""; p.Loaded = &proxy.Loaded{Info: proxy.Info{Envoy: "1.38.0"}} }), nil, mesh.ReachPush, ""},
		"an old Envoy":            {with(func(p *mesh.Proxy) { p.Version = ""; p.Loaded = &proxy.Loaded{Info: proxy.Info{Envoy: "1.28.0"}} }), nil, mesh.ReachUnknown, "1.19.0 or later"},
		"a line, and its word":    {with(func(p *mesh.Proxy) { p.Version = "1.20"; p.Loaded = &proxy.Loaded{Info: proxy.Info{Istio: "1.20.7"}} }), nil, mesh.ReachPush, ""},
		"a line alone":            {with(func(p *mesh.Proxy) { p.Version = "1.20" }), nil, mesh.ReachRenewal, "agent 1.20"},
		"SPIRE":                   {with(func(p *mesh.Proxy) { p.SPIRE = true }), nil, mesh.ReachElsewhere, "SPIRE"},
		"files":                   {with(func(p *mesh.Proxy) { p.FileMounted = true }), nil, mesh.ReachElsewhere, "file"},
		"another CA":              {with(func(p *mesh.Proxy) { p.CAProvider = "GoogleCA" }), nil, mesh.ReachElsewhere, "GoogleCA"},
		"Citadel's protocol":      {with(func(p *mesh.Proxy) { p.CAProvider = "Citadel" }), nil, mesh.ReachPush, ""},
		"another address":         {with(func(p *mesh.Proxy) { p.CAAddr = "cert-manager-istio-csr.cert-manager.svc:443" }), nil, mesh.ReachElsewhere, "cert-manager-istio-csr"},
		"istiod's address":        {with(func(p *mesh.Proxy) { p.CAAddr = "istiod.istio-system.svc:15012" }), nil, mesh.ReachPush, ""},
		"OUTPUT_CERTS":            {with(func(p *mesh.Proxy) { p.OutputCerts = "/x" }), nil, mesh.ReachRestart, "OUTPUT_CERTS"},
		"PROV_CERT":               {with(func(p *mesh.Proxy) { p.ProvCert = "/x" }), nil, mesh.ReachRestart, "PROV_CERT"},
		"ztunnel":                 {mesh.Proxy{Kind: mesh.Ztunnel, GraceRatio: 0.9}, nil, mesh.ReachRenewal, "every 12h0m0s"},
		"istio-csr":               {sidecar, planes(func(c *mesh.ControlPlane) { c.Flags.CAServer = false }), mesh.ReachElsewhere, "ENABLE_CA_SERVER"},
		"RA":                      {sidecar, planes(func(c *mesh.ControlPlane) { c.Flags.ExternalCA = "x" }), mesh.ReachElsewhere, "EXTERNAL_CA"},
		"managed":                 {sidecar, planes(func(c *mesh.ControlPlane) { c.CA.Kind = mesh.CAUnsupported }), mesh.ReachUnknown, "unsupported"},
		"no control plane":        {sidecar, []mesh.ControlPlane{}, mesh.ReachUnknown, "no control plane"},
		"another revision":        {with(func(p *mesh.Proxy) { p.Revision = "gone" }), nil, mesh.ReachUnknown, `"gone"`},
		"no revision":             {with(func(p *mesh.Proxy) { p.Revision = "" }), nil, mesh.ReachPush, ""},
		"no revision, two planes": {with(func(p *mesh.Proxy) { p.Revision = "" }), []mesh.ControlPlane{canary, hot}, mesh.ReachPush, ""},
		"the canary's":            {with(func(p *mesh.Proxy) { p.Revision = "canary" }), []mesh.ControlPlane{hot, canary}, mesh.ReachRenewal, "MULTIROOT"},
		"the canary's by address": {with(func(p *mesh.Proxy) { p.CAAddr = "istiod-canary.istio-system.svc:15012" }), []mesh.ControlPlane{hot, canary}, mesh.ReachRenewal, "MULTIROOT"},
		"by a tag":                {with(func(p *mesh.Proxy) { p.Revision = "prod" }), planes(func(c *mesh.ControlPlane) { c.Tags = []string{"prod"} }), mesh.ReachPush, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if test.planes == nil {
				test.planes = []mesh.ControlPlane{hot}
			}
			if got, why := mesh.ReachOf(test.proxy, test.planes); got != test.want || !strings.Contains(why, test.why) || why == "" {
				t.Errorf("%s: %s", got, why)
			}
		})
	}
}

// TestSettings: what counts is the environment of the agent's own container.
func TestSettings(t *testing.T) {
	files := func(source corev1.VolumeSource) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Volumes = []corev1.Volume{{Name: "workload-certs", VolumeSource: source}}
			pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "workload-certs", MountPath: "/var/run/secrets/workload-spiffe-credentials"}}
		}
	}
	roots := func(source corev1.VolumeSource) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Volumes = []corev1.Volume{{Name: "istiod-ca-cert", VolumeSource: source}}
			pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "istiod-ca-cert", MountPath: "/var/run/secrets/istio"}}
		}
	}
	projected := func(source corev1.VolumeProjection) corev1.VolumeSource {
		return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{source}}}
	}
	bundle := mesh.TrustBundleName
	for name, test := range map[string]struct {
		env    []corev1.EnvVar
		change func(*corev1.Pod)
		want   func(mesh.Proxy) bool
	}{
		"defaults": {nil, nil, func(p mesh.Proxy) bool {
			return p.SecretTTL == mesh.Duration(24*3600e9) && p.GraceRatio == 0.5 && !p.XDSAgent && p.StatusPort == 15020
		}},
		"TTL and ratio": {env("SECRET_TTL", "1h", "SECRET_GRACE_PERIOD_RATIO", "0.2", "SECRET_GRACE_PERIOD_RATIO_JITTER", "0.05"), nil, func(p mesh.Proxy) bool {
			return p.SecretTTL == mesh.Duration(3600e9) && p.GraceRatio == 0.2 && p.GraceJitter == 0.05
		}},
		"nonsense is the default": {env("SECRET_TTL", "-1h", "SECRET_GRACE_PERIOD_RATIO", "7"), nil, func(p mesh.Proxy) bool { return p.SecretTTL == mesh.Duration(24*3600e9) && p.GraceRatio == 0.5 }},
		"XDS by value":            {env("PROXY_CONFIG_XDS_AGENT", "1"), nil, func(p mesh.Proxy) bool { return p.XDSAgent }},
		"XDS by name only":        {env("PROXY_CONFIG_XDS_AGENT", "enabled"), nil, func(p mesh.Proxy) bool { return !p.XDSAgent }},
		"XDS in a config only":    {env("PROXY_CONFIG", `{"proxyMetadata":{"PROXY_CONFIG_XDS_AGENT":"true"}}`), nil, func(p mesh.Proxy) bool { return !p.XDSAgent }},
		"XDS from elsewhere":      {[]corev1.EnvVar{{Name: "PROXY_CONFIG_XDS_AGENT", Value: "true"}, {Name: "PROXY_CONFIG_XDS_AGENT", ValueFrom: &corev1.EnvVarSource{}}}, nil, func(p mesh.Proxy) bool { return !p.XDSAgent }},
		"CA": {env("CA_PROVIDER", "x", "CA_ADDR", "y:1", "PROV_CERT", "z", "OUTPUT_CERTS", "o"), nil, func(p mesh.Proxy) bool {
			return p.CAProvider == "x" && p.CAAddr == "y:1" && p.ProvCert == "z" && p.OutputCerts == "o"
		}},
		"roots of its own for the CA":    {env("CA_ROOT_CA", "/etc/ssl/corp.pem"), nil, func(p mesh.Proxy) bool { return p.OwnRoots == "/etc/ssl/corp.pem" }},
		"roots of its own for istiod":    {env("XDS_ROOT_CA", "SYSTEM"), nil, func(p mesh.Proxy) bool { return p.OwnRoots == "SYSTEM" }},
		"roots where istiod writes them": {env("CA_ROOT_CA", "./var/run/secrets/istio/root-cert.pem", "XDS_ROOT_CA", "/var/run/secrets/istio/root-cert.pem"), nil, func(p mesh.Proxy) bool { return p.OwnRoots == "" }},
		"file-mounted":                   {env("FILE_MOUNTED_CERTS", "true"), nil, func(p mesh.Proxy) bool { return p.FileMounted }},
		"a file for the listeners":       {env("ISTIO_META_TLS_SERVER_ROOT_CERT", "/r.pem"), nil, func(p mesh.Proxy) bool { return p.FileMounted }},
		"a file for the clusters":        {env("ISTIO_META_TLS_CLIENT_CERT_CHAIN", "/c.pem"), nil, func(p mesh.Proxy) bool { return p.FileMounted }},
		"no file for anything":           {env("ISTIO_META_TLS_SERVER_ROOT_CERT", ""), nil, func(p mesh.Proxy) bool { return !p.FileMounted }},
		"a volume of certificates":       {nil, files(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}), func(p mesh.Proxy) bool { return p.FileMounted && !p.SPIRE }},
		"injection's own volume":         {nil, files(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}), func(p mesh.Proxy) bool { return !p.FileMounted }},
		"gRPC": {nil, func(p *corev1.Pod) { p.Annotations = map[string]string{"inject.istio.io/templates": "grpc-agent"} }, func(p mesh.Proxy) bool {
			return p.GRPCAgent && p.OutputCerts != ""
		}},
		"roots of a ConfigMap": {nil, roots(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "istio-ca-root-cert"}}}),
			func(p mesh.Proxy) bool { return p.RootsFrom == "istio-ca-root-cert" }},
		"roots of a projected ConfigMap": {nil, roots(projected(corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "team-roots"}}})),
			func(p mesh.Proxy) bool { return p.RootsFrom == "team-roots" }},
		"roots of a ClusterTrustBundle": {nil, roots(projected(corev1.VolumeProjection{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Name: &bundle}})),
			func(p mesh.Proxy) bool { return p.RootsFrom == mesh.TrustBundleName }},
		"roots of the node":     {nil, roots(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}), func(p mesh.Proxy) bool { return p.RootsFrom == "" }},
		"status port":           {env("PROXY_CONFIG", `{"statusPort":16020}`), nil, func(p mesh.Proxy) bool { return p.StatusPort == 16020 }},
		"the annotation's port": {nil, func(p *corev1.Pod) { p.Annotations = map[string]string{"status.sidecar.istio.io/port": "17020"} }, func(p mesh.Proxy) bool { return p.StatusPort == 17020 }},
		"the injecting revision": {nil, func(p *corev1.Pod) {
			p.Annotations = map[string]string{"istio.io/rev": "1-30"}
			p.Labels = map[string]string{"istio.io/rev": "prod"}
		}, func(p mesh.Proxy) bool { return p.Revision == "1-30" }},
		"a revision by label":    {nil, func(p *corev1.Pod) { p.Labels = map[string]string{"istio.io/rev": "prod"} }, func(p mesh.Proxy) bool { return p.Revision == "prod" }},
		"a release by its image": {nil, nil, func(p mesh.Proxy) bool { return p.Version == "1.30.3" && p.VersionFrom == "image tag" }},
		"terminating, not ended": {nil, func(p *corev1.Pod) { p.DeletionTimestamp = p.Status.StartTime }, func(p mesh.Proxy) bool { return p.Terminating && !p.Starting }},
		"quit with its job":      {nil, ended(corev1.RestartPolicyNever, 1, 0), func(p mesh.Proxy) bool { return p.Quit && !p.Starting }},
		"quit after a restart":   {nil, ended(corev1.RestartPolicyOnFailure, 0, 1), func(p mesh.Proxy) bool { return p.Quit && !p.Starting }},
		"it comes back":          {nil, ended(corev1.RestartPolicyOnFailure, 1, 1), func(p mesh.Proxy) bool { return !p.Quit && !p.Starting }},
		"it comes back always":   {nil, ended(corev1.RestartPolicyAlways, 0, 0), func(p mesh.Proxy) bool { return !p.Quit && p.Starting }},
		"the pod is deleted": {nil, func(p *corev1.Pod) {
			ended(corev1.RestartPolicyAlways, 0, 0)(p)
			p.DeletionTimestamp = p.Status.StartTime
		}, func(p mesh.Proxy) bool { return p.Quit && !p.Starting }},
		"rules of its own": {nil, func(p *corev1.Pod) {
			ended(corev1.RestartPolicyNever, 0, 1)(p)
			p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{}}
		}, func(p mesh.Proxy) bool { return !p.Quit }},
		"a policy of its own": {nil, func(p *corev1.Pod) {
			ended(corev1.RestartPolicyNever, 0, 1)(p)
			always := corev1.ContainerRestartPolicyAlways
			p.Spec.Containers[0].RestartPolicy = &always
		}, func(p mesh.Proxy) bool { return !p.Quit }},
		"a native sidecar whose job has ended": {nil, native(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}), func(p mesh.Proxy) bool { return p.Native && p.Quit && !p.Starting }},
		"a native sidecar that comes back":     {nil, native(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}), func(p mesh.Proxy) bool { return p.Native && !p.Quit }},
		"not started":                          {nil, func(p *corev1.Pod) { p.Status = corev1.PodStatus{Phase: corev1.PodPending} }, func(p mesh.Proxy) bool { return p.Starting && p.Phase == "Pending" }},
	} {
		t.Run(name, func(t *testing.T) {
			pod := running("a", "p", nil, agent(test.env...))
			if test.change != nil {
				test.change(pod)
			}
			if p, ok := mesh.ProxyOf(pod); !ok || !test.want(p) {
				t.Errorf("%t %+v", ok, p)
			}
		})
	}
}

// TestSettingsByReference: what a Secret holds, or a field, is not known, and with it not
// how a new root gets there; of a ConfigMap the value is, unless it was written since.
func TestSettingsByReference(t *testing.T) {
	hot := env("ISTIO_MULTIROOT_MESH", "true")
	local := corev1.LocalObjectReference{Name: "given"}
	secret := func(name string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local, Key: "x"}}}
	}
	key := func(name, key string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: local, Key: key}}}
	}
	field := func(name string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}
	}
	for name, row := range map[string]struct {
		env     []corev1.EnvVar
		from    []corev1.EnvFromSource
		written time.Duration // after the pod was made
		want    mesh.Reach
		why     string
	}{
		"a Secret's address":     {env: []corev1.EnvVar{secret("CA_ADDR")}, want: mesh.ReachUnknown, why: "CA_ADDR comes from the Secret given"},
		"a Secret's provider":    {env: []corev1.EnvVar{secret("CA_PROVIDER")}, want: mesh.ReachUnknown, why: "CA_PROVIDER"},
		"a Secret's output":      {env: []corev1.EnvVar{secret("OUTPUT_CERTS")}, want: mesh.ReachUnknown, why: "OUTPUT_CERTS"},
		"a Secret's TTL":         {env: []corev1.EnvVar{secret("SECRET_TTL")}, want: mesh.ReachUnknown, why: "SECRET_TTL"},
		"a Secret's file":        {env: []corev1.EnvVar{secret("ISTIO_META_TLS_CLIENT_KEY")}, want: mesh.ReachUnknown, why: "ISTIO_META_TLS_CLIENT_KEY"},
		"a field":                {env: []corev1.EnvVar{field("FILE_MOUNTED_CERTS")}, want: mesh.ReachUnknown, why: "FILE_MOUNTED_CERTS comes from elsewhere"},
		"made of others":         {env: env("PROV_CERT", "$(DIR)/certs"), want: mesh.ReachUnknown, why: "PROV_CERT is made of other settings"},
		"overwritten":            {env: append([]corev1.EnvVar{secret("CA_ADDR")}, env("CA_ADDR", "")...), want: mesh.ReachPush},
		"injection's own fields": {env: []corev1.EnvVar{field("POD_NAME"), field("INSTANCE_IP")}, want: mesh.ReachPush},
		"all of a Secret":        {from: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: local}}}, want: mesh.ReachUnknown, why: "envFrom"},
		"all of a ConfigMap":     {from: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local}}}, want: mesh.ReachElsewhere, why: "csr.example"},
		"a key":                  {env: []corev1.EnvVar{key("CA_ADDR", "CA_ADDR")}, want: mesh.ReachElsewhere, why: "csr.example"},
		"a key of istiod's":      {env: []corev1.EnvVar{key("CA_ADDR", "istiod")}, want: mesh.ReachPush},
		"a key that is not":      {env: []corev1.EnvVar{key("CA_ADDR", "none")}, want: mesh.ReachUnknown, why: "the ConfigMap given"},
		"a key written since":    {env: []corev1.EnvVar{key("CA_ADDR", "istiod")}, written: time.Hour, want: mesh.ReachUnknown, why: "restart it"},
		"another's, written so":  {env: []corev1.EnvVar{key("LOG_LEVEL", "none")}, written: time.Hour, want: mesh.ReachPush},
	} {
		pod := running("a", "p", nil, agent(append(env("PROXY_CONFIG_XDS_AGENT", "true"), row.env...)...))
		pod.Spec.Containers[0].EnvFrom = row.from
		pod.CreationTimestamp = *pod.Status.StartTime
		written := metav1.NewTime(pod.Status.StartTime.Add(row.written - time.Second))
		given := configMap("a", "given", map[string]string{"CA_ADDR": "csr.example:443", "istiod": "istiod.istio-system.svc:15012"})
		given.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl", Time: &written}}
		c, _ := collector(nil, istiod("default", "hub/pilot:1.30.3", hot...), pod, given)
		s := collect(t, c)
		if len(s.Proxies) != 1 || s.Proxies[0].Reach != row.want || !strings.Contains(s.Proxies[0].ReachWhy, row.why) {
			t.Errorf("%s: %+v", name, s.Proxies)
		}
	}
}

// ended has the agent's container of a pod ended with this code, after so many restarts.
func ended(policy corev1.RestartPolicy, code, restarts int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.RestartPolicy = policy
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "istio-proxy", RestartCount: restarts, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}}}
	}
}

// native makes the agent of a pod a native sidecar that has ended, beside an application in
// this state, which is not started again.
func native(app corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		always := corev1.ContainerRestartPolicyAlways
		sidecar := p.Spec.Containers[0]
		sidecar.RestartPolicy = &always
		p.Spec.RestartPolicy, p.Spec.InitContainers, p.Spec.Containers = corev1.RestartPolicyNever, []corev1.Container{sidecar}, []corev1.Container{{Name: "app"}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: app}}
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: sidecar.Name, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}
	}
}
