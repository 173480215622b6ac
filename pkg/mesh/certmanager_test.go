package mesh_test

import (
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestS13_ManagedCA reads cert-manager's Certificate of the CA Secret, its issuer
// and what that signs with, without a key.
func TestS13_ManagedCA(t *testing.T) {
	root := newAuthority(t, "root", nil)
	issuing := newAuthority(t, "issuing", root)
	ca := newAuthority(t, "ca", issuing)
	chain := secret("issuing", map[string][]byte{"tls.crt": issuing.pem, "tls.key": issuing.key, "ca.crt": root.pem})
	chain.Namespace = "pki"
	controller := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "cm", Name: "cm", Labels: map[string]string{"app.kubernetes.io/name": "cert-manager", "app.kubernetes.io/component": "controller"}}}
	controller.Spec.Template.Spec.Containers = []corev1.Container{{Args: []string{"--v=2", "--cluster-resource-namespace=pki"}}}
	c, kube := collector(nil, istiod("default", "hub/pilot:1.30.3"), chain, controller, secret("cacerts", map[string][]byte{"tls.crt": ca.pem, "tls.key": ca.key, "ca.crt": root.pem}))
	const group = "cert-manager.io/v1/"
	dynamic := serving(t, c, kube, []string{group + "certificates", group + "issuers", group + "clusterissuers"},
		`{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: istio, namespace: istio-system}, spec: {secretName: cacerts, isCA: true, duration: 1440h, renewBefore: 360h, issuerRef: {kind: ClusterIssuer, name: ca, group: cert-manager.io}}, status: {renewalTime: "2026-12-24T00:00:00Z", conditions: [{type: Ready, status: "True"}, {type: Issuing, status: "True"}]}}`,
		`{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: web, namespace: istio-system}, spec: {secretName: web}}`,
		`{apiVersion: cert-manager.io/v1, kind: ClusterIssuer, metadata: {name: ca}, spec: {ca: {secretName: issuing}}, status: {conditions: [{type: Ready, status: "True"}]}}`)
	s := collect(t, c)
	if len(s.ManagedCAs) != 1 {
		t.Fatalf("%+v, gaps %v", s.ManagedCAs, s.Gaps)
	}
	m := s.ManagedCAs[0]
	if m.Name != "istio" || !m.IsCA || time.Duration(m.Duration) != 1440*time.Hour || time.Duration(m.RenewBefore) != 360*time.Hour || !m.Ready || !m.Issuing || m.RenewalTime.IsZero() {
		t.Errorf("certificate: %+v", m)
	}
	if m.Issuer != "ClusterIssuer ca" || m.IssuerType != "ca" || !m.IssuerReady || len(m.IssuerChain) != 2 || !m.NextRoot().Equal(root.cert) || m.Error != "" {
		t.Errorf("issuer: %+v", m)
	}
	if (mesh.ManagedCA{}).NextRoot() != nil {
		t.Error("no chain, and a root")
	}
	c.NoSecrets = true
	if m := collect(t, c).ManagedCAs[0]; m.NextRoot() != nil || m.Error == "" {
		t.Errorf("without Secrets: %+v", m)
	}
	c.NoSecrets = false
	forbid(&dynamic.Fake, "get", "clusterissuers")
	s = collect(t, c)
	if len(s.Gaps) != 0 || len(s.Beside) != 1 || s.Beside[0].Resource != "clusterissuers" || s.ManagedCAs[0].Error == "" {
		t.Errorf("a refusal: %+v, %+v", s.Beside, s.ManagedCAs[0])
	}
	forbid(&dynamic.Fake, "list", "certificates")
	if s = collect(t, c); len(s.ManagedCAs) != 0 || len(s.Gaps) != 0 || len(s.Beside) != 1 || s.Beside[0].Resource != "certificates" {
		t.Errorf("a refusal: %+v", s.Beside)
	}
}
