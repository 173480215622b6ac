package mesh_test

import (
	"slices"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

// An istiod whose setting for a kind of webhook is empty writes into none of that kind; one
// that has no such setting does, and so does another of the same revision.
func TestWebhooksWrittenByHand(t *testing.T) {
	rev := map[string]string{"istio.io/rev": "default"}
	judging := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "v", Labels: rev}, Webhooks: []admissionv1.ValidatingWebhook{{
		Name: "v", ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "istio-system", Name: "istiod"}},
	}}}
	for name, row := range map[string]struct {
		settings               []string
		second                 bool
		injection, validations string
	}{
		"unset":              {nil, false, "", ""},
		"named":              {[]string{"INJECTION_WEBHOOK_CONFIG_NAME", "x", "VALIDATION_WEBHOOK_CONFIG_NAME", "y"}, false, "", ""},
		"no injection":       {[]string{"INJECTION_WEBHOOK_CONFIG_NAME", ""}, false, "INJECTION_WEBHOOK_CONFIG_NAME is empty", ""},
		"no validation":      {[]string{"VALIDATION_WEBHOOK_CONFIG_NAME", ""}, false, "", "VALIDATION_WEBHOOK_CONFIG_NAME is empty"},
		"another istiod has": {[]string{"VALIDATION_WEBHOOK_CONFIG_NAME", ""}, true, "", ""},
	} {
		d := istiod("default", "hub/pilot:1.30.3", env(row.settings...)...)
		objects := []runtime.Object{d, injector("i", rev, "istiod", nil), judging}
		if row.second {
			other := istiod("default", "hub/pilot:1.30.3")
			other.Name = "istiod-too"
			objects = append(objects, other)
		}
		c, _ := collector(nil, objects...)
		found := map[string]string{}
		for _, w := range collect(t, c).Webhooks {
			found[w.Config] = w.ByHand
		}
		if len(found) != 2 || found["i"] != row.injection || found["v"] != row.validations {
			t.Errorf("%s: %q", name, found)
		}
	}
}

// A webhook configuration without the label of a revision is patched by no istiod, of the
// injecting ones from 1.10 on, and of the validating ones from 1.11 on. Of an istiod whose
// release is not known it is not said.
func TestWebhooksOfNoRevision(t *testing.T) {
	const unlabelled = "it has no label istio.io/rev"
	judging := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Webhooks: []admissionv1.ValidatingWebhook{{
		Name: "v", ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "istio-system", Name: "istiod"}},
	}}}
	for _, row := range []struct{ tag, second, injection, validation string }{
		{"1.30.3", "", unlabelled, unlabelled}, {"1.11.0", "", unlabelled, unlabelled}, {"1.10.0", "", unlabelled, ""},
		{"1.8.6", "", "", ""}, {"latest", "", "", ""}, {"1.30.3", "1.8.6", "", ""},
	} {
		objects := []runtime.Object{istiod("default", "hub/pilot:"+row.tag), injector("i", nil, "istiod", nil), judging}
		if row.second != "" {
			other := istiod("old", "hub/pilot:"+row.second)
			other.Name = "istiod-old"
			objects = append(objects, other)
		}
		c, _ := collector(nil, objects...)
		found := map[string]string{}
		for _, w := range collect(t, c).Webhooks {
			found[w.Config] = w.ByHand
		}
		if len(found) != 2 || found["i"] != row.injection || found["v"] != row.validation {
			t.Errorf("%s, %s: %q", row.tag, row.second, found)
		}
	}
}

// A token is asked for whom the istiod takes tokens for: agents' own where it takes those.
func TestAudienceOfAToken(t *testing.T) {
	for _, row := range []struct{ tag, setting, want string }{
		{"1.30.3", "unset", "istio-ca"}, {"1.30.3", "istio-ca", "istio-ca"}, {"1.30.3", "mesh.example,istio-ca", "istio-ca"},
		{"1.30.3", "mesh.example,other", "mesh.example"}, {"1.30.3", "", "istio-ca"}, {"1.7.8", "mesh.example", "istio-ca"}, {"1.8.0", "mesh.example", "mesh.example"},
	} {
		settings := []string{"TOKEN_AUDIENCES", row.setting}
		if row.setting == "unset" {
			settings = nil
		}
		d := istiod("default", "hub/pilot:"+row.tag, env(settings...)...)
		c, kube := collector(nil, d, replica(d, "mute"))
		var asked []string
		kube.PrependReactor("create", "serviceaccounts", func(a k8stesting.Action) (bool, runtime.Object, error) {
			if a.GetSubresource() != "token" {
				return false, nil, nil
			}
			asked = append(asked, a.(k8stesting.CreateAction).GetObject().(*authenticationv1.TokenRequest).Spec.Audiences...)
			return true, &authenticationv1.TokenRequest{}, nil
		})
		p := &mesh.Prober{Kube: kube, Dialer: pipe{envoy(nil, nil)}, Now: c.Now, CSR: true}
		p.Probe(t.Context(), collect(t, c), nil)
		if !slices.Equal(asked, []string{row.want}) {
			t.Errorf("%s with %q: %q", row.tag, row.setting, asked)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if left, err := kube.CoreV1().ServiceAccounts("istio-system").List(t.Context(), metav1.ListOptions{}); err != nil || len(left.Items) > 0 {
			t.Errorf("left: %v, %v", left.Items, err)
		}
	}
}

// What mounts a token for any of those whom an istiod takes tokens for has a certificate of
// the mesh, as agents' own has.
func TestHolderOfAnotherAudience(t *testing.T) {
	for audience, found := range map[string]bool{"istio-ca": true, "mesh.example": true, "vault": false, "": false} {
		pod := running("a", "p", nil, corev1.Container{Name: "own-agent", VolumeMounts: []corev1.VolumeMount{{Name: "token", MountPath: "/t"}}})
		pod.Spec.Volumes = []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: audience}}}}}}}
		c, _ := collector(nil, istiod("default", "hub/pilot:1.30.3", env("TOKEN_AUDIENCES", "mesh.example,istio-ca,")...), pod)
		if got := collect(t, c).Proxies; (len(got) == 1) != found || found && !got[0].Opaque {
			t.Errorf("%q: %+v", audience, got)
		}
	}
}
