package rehearsal

import (
	"fmt"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// bundles: it writes a ClusterTrustBundle instead of ConfigMaps (istio 1.26.0
// pilot/pkg/controllers/clustertrustbundle/controller.go:30; it works since 1.26.3).
func (p *plane) bundles() bool {
	return p.Env["ENABLE_CLUSTER_TRUST_BUNDLE_API"] == "true" && fixed(p.Release, "1.26.3")
}

const trustBundleName = "istio.io:istiod-ca:root-cert"

func trustBundles() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "certificates.k8s.io", Version: "v1beta1", Resource: "clustertrustbundles"}
}

// publishBundle writes it, and agents' files follow.
func (m *Mesh) publishBundle(leader *istiod) {
	bundle := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle",
		"metadata": map[string]any{"name": trustBundleName}, "spec": map[string]any{"trustBundle": string(leader.roots)},
	}}
	if _, err := m.Dynamic.Tracker().Get(trustBundles(), "", trustBundleName); err != nil {
		_ = m.Dynamic.Tracker().Create(trustBundles(), bundle, "") // it was not there
	} else {
		_ = m.Dynamic.Tracker().Update(trustBundles(), bundle, "")
	}
	follow := func() {
		for _, n := range m.meshed() {
			m.refresh(n)
		}
	}
	if m.spec.FileLag <= 0 {
		follow()
		return
	}
	m.after(m.spec.FileLag, follow)
}

// bundleFile is what a pod's projected copy of it holds.
func (m *Mesh) bundleFile() []*pki.Certificate {
	object, err := m.Dynamic.Tracker().Get(trustBundles(), "", trustBundleName)
	if err != nil {
		return nil
	}
	text, _, _ := unstructured.NestedString(object.(*unstructured.Unstructured).Object, "spec", "trustBundle")
	bundle, err := m.parsed(text)
	if err != nil {
		return nil
	}
	return bundle.Certs
}

// pushes is the bundle that subscribers get: the CA's roots, and those of the mesh
// config, which go nowhere else.
func (i *istiod) pushes() string {
	var all strings.Builder
	all.Write(i.roots)
	for _, c := range i.mesh.spec.MeshCA {
		all.Write(c.PEM())
	}
	return all.String()
}

// meshConfig is istiod's, as far as roots and the trust domain stand in it.
func (m *Mesh) meshConfig() *corev1.ConfigMap {
	var text strings.Builder
	if m.spec.TrustDomain != "" {
		fmt.Fprintf(&text, "trustDomain: %s\n", m.spec.TrustDomain)
	}
	if len(m.spec.MeshCA) > 0 {
		text.WriteString("caCertificates:\n")
	}
	for _, c := range m.spec.MeshCA {
		fmt.Fprintf(&text, "- pem: |\n    %s\n", strings.ReplaceAll(strings.TrimSpace(string(c.PEM())), "\n", "\n    "))
	}
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: istioNamespace, Name: "istio", ResourceVersion: "1"}, Data: map[string]string{"mesh": text.String()}}
}
