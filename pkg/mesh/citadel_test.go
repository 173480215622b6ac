package mesh_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	admissionv1beta1 "k8s.io/api/admissionregistration/v1beta1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

// oldMesh is Istio 1.1 as it was installed: a Citadel, a Pilot without a sidecar,
// and workload certificates in Secrets, of which one is of another root.
func oldMesh(t testing.TB) (root, stale *authority, objects []runtime.Object) {
	root, stale = newAuthority(t, "root", nil), newAuthority(t, "another root", nil)
	labels := map[string]string{"istio": "citadel"}
	citadel := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istio-citadel", Labels: labels}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "citadel", Image: "hub/citadel:1.1.7",
			Args: []string{"--self-signed-ca=true", "--workload-cert-ttl", "48h", "--max-workload-cert-ttl=720h"}}}}},
	}}
	workload := func(namespace, account string, ca *authority) *corev1.Secret {
		leaf := newAuthority(t, account, ca)
		s := secret("istio."+account, map[string][]byte{"cert-chain.pem": leaf.pem, "key.pem": leaf.key, "root-cert.pem": ca.pem})
		s.Namespace, s.Type, s.Annotations = namespace, "istio.io/key-and-cert", map[string]string{"istio.io/service-account.name": account}
		return s
	}
	component := func(role string, containers ...corev1.Container) *corev1.Pod {
		return running("istio-system", "istio-"+role, map[string]string{"istio": role}, containers...)
	}
	other := workload("b", "other-type", root)
	other.Type = corev1.SecretTypeOpaque
	broken := workload("b", "broken", root)
	broken.Data["root-cert.pem"] = []byte("no PEM")
	return root, stale, []runtime.Object{
		citadel, secret("istio-ca-secret", selfSigned(root)), workload("a", "default", root), workload("b", "default", stale), other, broken,
		component("pilot", corev1.Container{Name: "discovery", Image: "hub/pilot:1.1.7"}),
		component("galley", corev1.Container{Name: "galley", Image: "hub/galley:1.1.7"}, corev1.Container{Name: "istio-proxy"}),
		component("mixer", corev1.Container{Name: "mixer"}),
		namespace("istio-system", nil), namespace("a", nil), namespace("b", nil),
	}
}

// TestS9_WorkloadSecrets reads them without their keys, and holds them against the
// root by DER.
func TestS9_WorkloadSecrets(t *testing.T) {
	root, stale, objects := oldMesh(t)
	c, kube := collector(nil, objects...)
	s := collect(t, c)
	var said []string
	for _, w := range s.WorkloadSecrets {
		said = append(said, fmt.Sprintf("%s %s %t %t", w.Ref(), w.ServiceAccount, w.Matches(s.ControlPlanes[0].CA.Root.Certs), w.Error != ""))
	}
	want := "a/istio.default default true false; b/istio.broken broken false true; b/istio.default default false false"
	if got := strings.Join(said, "; "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if (mesh.WorkloadSecret{}).Matches(nil) {
		t.Error("nothing matches nothing")
	}
	flags := s.ControlPlanes[0].Flags
	if time.Duration(flags.DefaultWorkloadTTL) != 48*time.Hour || time.Duration(flags.MaxWorkloadTTL) != 720*time.Hour {
		t.Errorf("flags: %+v", flags)
	}

	// A saved Snapshot has all of it, and no key.
	var saved bytes.Buffer
	if err := s.WriteJSON(&saved); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(saved.String(), "PRIVATE KEY") || bytes.Contains(saved.Bytes(), root.key) {
		t.Error("a key is in the snapshot")
	}
	again, err := mesh.ReadSnapshot(&saved)
	if err != nil || len(again.WorkloadSecrets) != 3 || !again.WorkloadSecrets[2].Matches(again.WorkloadSecrets[2].Roots) || !again.WorkloadSecrets[2].Roots[0].Equal(stale.cert) {
		t.Errorf("read again: %v", err)
	}

	c.NoSecrets = true
	if s := collect(t, c); len(s.WorkloadSecrets) > 0 || !gapOn(s, "secrets") {
		t.Errorf("%d secrets without asking, gaps %v", len(s.WorkloadSecrets), s.Gaps)
	}
	c.NoSecrets = false
	forbid(&kube.Fake, "list", "secrets")
	if s := collect(t, c); !gapOn(s, "secrets") {
		t.Errorf("a refusal leaves no gap: %v", s.Gaps)
	}
}

func gapOn(s *mesh.Snapshot, resource string) bool {
	for _, g := range s.Gaps {
		if g.Resource == resource && strings.Contains(g.Part, "workload certificates") {
			return true
		}
	}
	return false
}

// TestT4_WebhooksOfOldAPIServers: before Kubernetes 1.16, which is where Istio 1.0 to 1.4
// were at home, webhook configurations have the version v1beta1 alone.
func TestT4_WebhooksOfOldAPIServers(t *testing.T) {
	root, _, objects := oldMesh(t)
	fail := admissionv1beta1.Fail
	objects = append(objects, &admissionv1beta1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "istio-sidecar-injector"}, Webhooks: []admissionv1beta1.MutatingWebhook{{
		Name: "sidecar-injector.istio.io", FailurePolicy: &fail, ClientConfig: admissionv1beta1.WebhookClientConfig{
			Service: &admissionv1beta1.ServiceReference{Namespace: "istio-system", Name: "istio-sidecar-injector"}, CABundle: root.pem}}}})
	c, kube := collector(nil, objects...)
	for _, resource := range []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} {
		kube.PrependReactor("list", resource, func(action k8stesting.Action) (bool, runtime.Object, error) {
			if action.GetResource().Version == "v1" {
				return true, nil, apierrors.NewNotFound(action.GetResource().GroupResource(), "")
			}
			return false, nil, nil
		})
	}
	s := collect(t, c)
	for _, g := range s.Gaps {
		if strings.Contains(g.Resource, "webhook") {
			t.Errorf("%s: %s", g.Part, g.Error)
		}
	}
	if len(s.Webhooks) != 1 || !s.Webhooks[0].Fatal || len(s.Webhooks[0].CABundle.Certs) != 1 || !s.Webhooks[0].CABundle.Certs[0].Equal(root.cert) {
		t.Errorf("%+v", s.Webhooks)
	}
	forbid(&kube.Fake, "list", "mutatingwebhookconfigurations")
	if s := collect(t, c); !slices.ContainsFunc(s.Gaps, func(g mesh.Gap) bool { return g.Resource == "mutatingwebhookconfigurations" && g.Verb == "list" }) {
		t.Errorf("a refusal leaves no gap: %v", s.Gaps)
	}
}

// TestS3_CitadelApartFromPilot: istio/installer (1.3, 1.4) puts Citadel into istio-system,
// and Pilot, Galley, the injector and the mesh config into another namespace. A mesh
// config that nobody finds says nothing of what stands in it.
func TestS3_CitadelApartFromPilot(t *testing.T) {
	root, _, objects := oldMesh(t)
	for _, o := range objects {
		if p, ok := o.(*corev1.Pod); ok {
			p.Namespace = "istio-control"
		}
	}
	unread := func(s *mesh.Snapshot) bool {
		return slices.ContainsFunc(s.Unread(), func(g mesh.Gap) bool { return strings.HasPrefix(g.Part, "mesh config") })
	}
	c, _ := collector(nil, objects...)
	if s := collect(t, c); !unread(s) {
		t.Errorf("there is no mesh config, and it is taken for one that says nothing: %v", s.Unread())
	}
	hook := injector("istio-sidecar-injector-istio-control", nil, "istio-sidecar-injector", root.pem)
	hook.Webhooks[0].ClientConfig.Service.Namespace = "istio-control"
	c, _ = collector(nil, append(objects, namespace("istio-control", nil), hook,
		configMap("istio-control", "istio", map[string]string{"mesh": "authPolicy: MUTUAL_TLS\ndefaultConfig:\n  controlPlaneAuthPolicy: MUTUAL_TLS\n"}))...)
	s := collect(t, c)
	if unread(s) || s.MTLS.AuthPolicy != mesh.MutualTLS || s.MTLS.ControlPlaneAuthPolicy != mesh.MutualTLS {
		t.Errorf("%+v, unread %v", s.MTLS, s.Unread())
	}
	if len(s.Components) != 2 || s.Components[0].Namespace != "istio-control" || len(s.Webhooks) != 1 {
		t.Errorf("components %+v, webhooks %+v", s.Components, s.Webhooks)
	}
}

// TestP2_Components: a Pilot with and without a sidecar is told apart.
func TestP2_Components(t *testing.T) {
	_, _, objects := oldMesh(t)
	c, _ := collector(nil, objects...)
	var said []string
	for _, component := range collect(t, c).Components {
		said = append(said, fmt.Sprintf("%s %s sidecar %t ready %t", component.Role, component.Version, component.Sidecar, component.Ready))
	}
	if got := strings.Join(said, "; "); got != "galley 1.1.7 sidecar true ready true; pilot 1.1.7 sidecar false ready true" {
		t.Error(got)
	}
}

// TestT4_DNSCertificates: an injector that serves a certificate of the cluster's own CA, as
// meshConfig.certificates of 1.4 has it, is told from one that serves Citadel's.
func TestT4_DNSCertificates(t *testing.T) {
	for secret, dns := range map[string]bool{"dns.istio-sidecar-injector-service-account": true, "istio.istio-sidecar-injector-service-account": false} {
		_, _, objects := oldMesh(t)
		pod := running("istio-system", "istio-sidecar-injector-1", map[string]string{"istio": "sidecar-injector"}, corev1.Container{Name: "sidecar-injector-webhook", Image: "hub/sidecar_injector:1.4.10"})
		pod.Spec.Volumes = []corev1.Volume{{Name: "certs", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}}
		c, _ := collector(nil, append(objects, pod)...)
		components := collect(t, c).Components
		i := slices.IndexFunc(components, func(c mesh.Component) bool { return c.Role == "sidecar-injector" })
		if i < 0 || components[i].DNS != dns {
			t.Errorf("%s: %+v", secret, components)
		}
	}
}

// TestCitadelRootRenewal reads when a Citadel renews its root by itself: releases that
// have it, what the environment says, and of a plugged CA nothing.
func TestCitadelRootRenewal(t *testing.T) {
	const every, percent = "CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL", "CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE"
	usual := &mesh.RootRenewal{Every: mesh.Duration(time.Hour), Percent: 20}
	for name, test := range map[string]struct {
		release string
		env     []corev1.EnvVar
		plugged bool
		want    *mesh.RootRenewal
		gap     bool
	}{
		"1.2.8": {release: "1.2.8"}, "1.3.4": {release: "1.3.4"}, "unknown": {release: "latest"},
		"1.2.9": {release: "1.2.9", want: usual}, "1.3.5": {release: "1.3.5", want: usual}, "1.4.0": {release: "1.4.0", want: usual},
		"plugged":          {release: "1.4.0", plugged: true},
		"told":             {release: "1.4.10", env: []corev1.EnvVar{{Name: every, Value: "10m"}, {Name: percent, Value: "50"}}, want: &mesh.RootRenewal{Every: mesh.Duration(10 * time.Minute), Percent: 50}},
		"told never":       {release: "1.4.10", env: []corev1.EnvVar{{Name: every, Value: "0"}}, want: &mesh.RootRenewal{Percent: 20}},
		"told nonsense":    {release: "1.4.10", env: []corev1.EnvVar{{Name: every, Value: "soon"}, {Name: percent, Value: "half"}}, want: usual},
		"told from beside": {release: "1.4.10", env: []corev1.EnvVar{{Name: every, ValueFrom: &corev1.EnvVarSource{}}}, want: usual, gap: true},
	} {
		_, _, objects := oldMesh(t)
		container := &objects[0].(*appsv1.Deployment).Spec.Template.Spec.Containers[0]
		container.Image, container.Env = "hub/citadel:"+test.release, test.env
		if test.plugged {
			container.Args = []string{"--self-signed-ca=false"}
		}
		c, _ := collector(nil, objects...)
		s := collect(t, c)
		got := s.ControlPlanes[0].RootRenewal
		if (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
			t.Errorf("%s: %+v", name, got)
		}
		gap := slices.ContainsFunc(s.Gaps, func(g mesh.Gap) bool { return strings.HasPrefix(g.Part, "settings of ") })
		if gap != test.gap {
			t.Errorf("%s: a setting whose value is not known is a gap: %t", name, gap)
		}
	}
}

// TestP2_StartOfTheProcess: a Pilot that ended until its Secret was there has read it at
// the start of its container, not of its pod.
func TestP2_StartOfTheProcess(t *testing.T) {
	_, _, objects := oldMesh(t)
	pod := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, o := range objects {
		if p, ok := o.(*corev1.Pod); ok && p.Labels["istio"] == "pilot" {
			started := metav1.NewTime(pod)
			p.Status.StartTime = &started
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "discovery", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(pod.Add(time.Minute))}}}}
		}
	}
	c, _ := collector(nil, objects...)
	for _, component := range collect(t, c).Components {
		if component.Role == "pilot" && !component.Started.Equal(pod.Add(time.Minute)) {
			t.Errorf("it has read its files at %s", component.Started)
		}
	}
}
