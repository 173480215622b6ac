package mesh_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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
