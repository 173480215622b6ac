package mesh_test

import (
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8stesting "k8s.io/client-go/testing"
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

// TestS13_ChainOfAnIssuer: of an issuer's ca.crt cert-manager takes the first certificate,
// and issues nothing where that and tls.crt are no single chain.
func TestS13_ChainOfAnIssuer(t *testing.T) {
	root, old := newAuthority(t, "root", nil), newAuthority(t, "old", nil)
	middle := newAuthority(t, "middle", root)
	issuing := newAuthority(t, "issuing", middle)
	for name, row := range map[string]struct {
		tls, ca []byte
		want    *authority
		fault   string
	}{
		"its root":                    {joined(issuing.pem, middle.pem), root.pem, root, ""},
		"its root is the first":       {joined(issuing.pem, middle.pem), joined(root.pem, old.pem), root, ""},
		"the first is none of its":    {joined(issuing.pem, middle.pem), joined(old.pem, root.pem), nil, "no single chain"},
		"the first is half the way":   {issuing.pem, joined(middle.pem, root.pem), middle, ""},
		"in any order, and twice":     {joined(issuing.pem, root.pem, middle.pem), root.pem, root, ""},
		"no ca.crt":                   {joined(issuing.pem, middle.pem), nil, middle, ""},
		"a root alone":                {root.pem, root.pem, root, ""},
		"nothing that is one":         {issuing.pem, []byte("x"), nil, "ca.crt"},
		"a stranger behind the key's": {joined(issuing.pem, old.pem), middle.pem, nil, "no single chain"},
	} {
		held := secret("issuing", map[string][]byte{"tls.crt": row.tls, "tls.key": issuing.key, "ca.crt": row.ca})
		c, kube := collector(nil, istiod("default", "hub/pilot:1.30.3"), held, secret("cacerts", map[string][]byte{"tls.crt": issuing.pem}))
		const group = "cert-manager.io/v1/"
		serving(t, c, kube, []string{group + "certificates", group + "issuers"},
			`{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: istio, namespace: istio-system}, spec: {secretName: cacerts, isCA: true, issuerRef: {name: ca}}}`,
			`{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: ca, namespace: istio-system}, spec: {ca: {secretName: issuing}}}`)
		s := collect(t, c)
		if len(s.ManagedCAs) != 1 {
			t.Fatalf("%s: %+v", name, s.ManagedCAs)
		}
		m := s.ManagedCAs[0]
		if next := m.NextRoot(); !strings.Contains(m.Error, row.fault) || (row.fault == "") != (m.Error == "") || (next == nil) != (row.want == nil) || next != nil && !next.Equal(row.want.cert) {
			t.Errorf("%s: %v, %s", name, next, m.Error)
		}
	}
}

// TestS13_KeyOfARenewal: which key the next certificate has, as cert-manager decides it by
// the Certificate and, where that says nothing, by its own release.
func TestS13_KeyOfARenewal(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	for name, row := range map[string]struct {
		image, label, spec string
		key                string
		keeps, unsaid      bool
	}{
		"never":                  {"quay.io/jetstack/cert-manager-controller:v1.20.0", "", "{rotationPolicy: Never, algorithm: ECDSA, size: 384}", "ecdsa-p384", true, false},
		"always":                 {"quay.io/jetstack/cert-manager-controller:v1.6.1", "", "{rotationPolicy: Always, size: 4096}", "rsa-4096", false, false},
		"unset before 1.18":      {"quay.io:443/jetstack/cert-manager-controller:v1.17.4", "", "{algorithm: ECDSA}", "ecdsa-p256", true, false},
		"unset from 1.18":        {"quay.io/jetstack/cert-manager-controller:v1.18.0@sha256:abc", "", "{}", "rsa-2048", false, false},
		"a digest and a label":   {"mirror/cert-manager-controller@sha256:abc", "v1.12.3", "{algorithm: Ed25519}", "ed25519", true, false},
		"a release nobody knows": {"mirror:443/cert-manager-controller:stable", "", "{}", "rsa-2048", false, true},
		"no controller":          {"", "", "{}", "rsa-2048", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []runtime.Object{istiod("default", "hub/pilot:1.30.3"), secret("cacerts", map[string][]byte{"tls.crt": ca.pem, "tls.key": ca.key, "ca.crt": ca.pem})}
			if row.image != "" {
				controller := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "cm", Name: "cm", Labels: map[string]string{"app.kubernetes.io/name": "cert-manager", "app.kubernetes.io/component": "controller", "app.kubernetes.io/version": row.label}}}
				controller.Spec.Template.Spec.Containers = []corev1.Container{{Image: row.image}}
				objects = append(objects, controller)
			}
			c, kube := collector(nil, objects...)
			serving(t, c, kube, []string{"cert-manager.io/v1/certificates"},
				`{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: istio, namespace: istio-system}, spec: {secretName: cacerts, isCA: true, privateKey: `+row.spec+`, issuerRef: {name: ca}}}`)
			s := collect(t, c)
			if len(s.ManagedCAs) != 1 {
				t.Fatalf("%+v", s.ManagedCAs)
			}
			if m := s.ManagedCAs[0]; m.Key != row.key || m.KeepsKey != row.keeps || m.KeyUnsaid != row.unsaid {
				t.Errorf("%q, kept %v, unsaid %v", m.Key, m.KeepsKey, m.KeyUnsaid)
			}
		})
	}
}

// TestS12_RootOfACertificate: a ca issuer whose root cert-manager writes too has another one
// from that Certificate's renewal on.
func TestS12_RootOfACertificate(t *testing.T) {
	root := newAuthority(t, "root", nil)
	ca := newAuthority(t, "ca", root)
	life := root.cert.X509.NotAfter.Sub(root.cert.X509.NotBefore)
	byDefault := root.cert.X509.NotAfter.Add(-life / 3)
	said := root.cert.X509.NotAfter.Add(-life / 2).Truncate(time.Second)
	writer := func(secret, renewal string) string {
		return `{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: selfsigned-ca, namespace: cert-manager}, spec: {secretName: ` + secret + `, isCA: true}, status: {renewalTime: "` + renewal + `"}}`
	}
	for name, row := range map[string]struct {
		mark, writer string
		forbidden    bool
		want         time.Time
	}{
		"its own word":         {"selfsigned-ca", writer("root", said.Format(time.RFC3339)), false, said},
		"made by hand":         {"", writer("root", said.Format(time.RFC3339)), false, time.Time{}},
		"its Certificate gone": {"selfsigned-ca", "", false, time.Time{}},
		"it writes another":    {"selfsigned-ca", writer("other", said.Format(time.RFC3339)), false, time.Time{}},
		"it may not be listed": {"selfsigned-ca", writer("root", said.Format(time.RFC3339)), true, byDefault},
	} {
		t.Run(name, func(t *testing.T) {
			held := secret("root", map[string][]byte{"tls.crt": root.pem, "tls.key": root.key, "ca.crt": root.pem})
			held.Namespace, held.Annotations = "cert-manager", map[string]string{"cert-manager.io/certificate-name": row.mark}
			c, kube := collector(nil, istiod("default", "hub/pilot:1.30.3"), held, secret("cacerts", map[string][]byte{"tls.crt": ca.pem, "tls.key": ca.key, "ca.crt": root.pem}))
			const group = "cert-manager.io/v1/"
			objects := []string{
				`{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: cacerts, namespace: istio-system}, spec: {secretName: cacerts, isCA: true, issuerRef: {kind: ClusterIssuer, name: ca}}}`,
				`{apiVersion: cert-manager.io/v1, kind: ClusterIssuer, metadata: {name: ca}, spec: {ca: {secretName: root}}}`,
			}
			if row.writer != "" {
				objects = append(objects, row.writer)
			}
			dynamic := serving(t, c, kube, []string{group + "certificates", group + "clusterissuers"}, objects...)
			if row.forbidden {
				dynamic.PrependReactor("list", "certificates", func(a k8stesting.Action) (bool, runtime.Object, error) {
					return a.GetNamespace() == "cert-manager", nil, apierrors.NewForbidden(schema.GroupResource{Resource: "certificates"}, "", nil)
				})
			}
			s := collect(t, c)
			if len(s.ManagedCAs) != 1 || s.ManagedCAs[0].Error != "" {
				t.Fatalf("%+v", s.ManagedCAs)
			}
			if m := s.ManagedCAs[0]; !m.IssuerRenewal.Equal(row.want) || (m.IssuerWriter == "cert-manager/selfsigned-ca") == row.want.IsZero() {
				t.Errorf("%s renews it at %s, not %s", m.IssuerWriter, m.IssuerRenewal, row.want)
			}
		})
	}
}
