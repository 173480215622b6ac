package mesh_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"
)

// serving has an API server know the kinds given, GROUP/VERSION/RESOURCE each, and
// hold the objects.
func serving(t testing.TB, c *mesh.Collector, kube *fake.Clientset, kinds []string, documents ...string) *dynamicfake.FakeDynamicClient {
	t.Helper()
	lists := map[schema.GroupVersionResource]string{}
	for _, version := range []string{"v1", "v1beta1", "v1alpha3"} {
		lists[schema.GroupVersionResource{Group: "networking.istio.io", Version: version, Resource: "workloadentries"}] = "WorkloadEntryList"
	}
	for _, kind := range kinds {
		part := strings.Split(kind, "/")
		lists[schema.GroupVersionResource{Group: part[0], Version: part[1], Resource: part[2]}] = part[2] + "List"
		at := slices.IndexFunc(kube.Resources, func(l *metav1.APIResourceList) bool { return l.GroupVersion == part[0]+"/"+part[1] })
		if at < 0 {
			at = len(kube.Resources)
			kube.Resources = append(kube.Resources, &metav1.APIResourceList{GroupVersion: part[0] + "/" + part[1]})
		}
		kube.Resources[at].APIResources = append(kube.Resources[at].APIResources, metav1.APIResource{Name: part[2]})
	}
	var objects []runtime.Object
	for _, document := range documents {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &o.Object); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	dynamic := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists)
	for i, o := range objects {
		u := o.(*unstructured.Unstructured)
		for gvr := range lists {
			if gv := u.GroupVersionKind().GroupVersion(); gv == gvr.GroupVersion() && strings.EqualFold(gvr.Resource, plural(u.GetKind())) {
				if err := dynamic.Tracker().Create(gvr, objects[i], u.GetNamespace()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	c.Dynamic = dynamic
	return dynamic
}

func plural(kind string) string {
	if strings.HasSuffix(kind, "y") {
		return strings.TrimSuffix(kind, "y") + "ies"
	}
	return kind + "s"
}

// TestS26_Policies reads mutual TLS from the objects and the mesh config of all
// ages, in the versions that the API server has.
func TestS26_Policies(t *testing.T) {
	c, kube := collector(nil, istiod("default", "hub/pilot:1.30.3"), namespace("a", nil),
		configMap("istio-system", "istio", map[string]string{"mesh": "authPolicy: MUTUAL_TLS\nenableAutoMtls: false\ndefaultConfig:\n  controlPlaneAuthPolicy: NONE\n"}))
	dynamic := serving(t, c, kube, []string{"security.istio.io/v1beta1/peerauthentications", "networking.istio.io/v1alpha3/destinationrules", "authentication.istio.io/v1alpha1/meshpolicies", "authentication.istio.io/v1alpha1/policies"},
		`{apiVersion: security.istio.io/v1beta1, kind: PeerAuthentication, metadata: {name: default, namespace: istio-system}, spec: {mtls: {mode: STRICT}}}`,
		`{apiVersion: security.istio.io/v1beta1, kind: PeerAuthentication, metadata: {name: web, namespace: a}, spec: {selector: {matchLabels: {app: web}}, portLevelMtls: {"80": {mode: DISABLE}}}}`,
		`{apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {name: dr, namespace: a}, spec: {host: web, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{tls: {mode: DISABLE}}]}, subsets: [{name: v1, trafficPolicy: {tls: {mode: MUTUAL}}}, {name: v2}]}}`,
		`{apiVersion: authentication.istio.io/v1alpha1, kind: MeshPolicy, metadata: {name: default}, spec: {peers: [{mtls: {}}]}}`,
		`{apiVersion: authentication.istio.io/v1alpha1, kind: Policy, metadata: {name: empty, namespace: a}, spec: {}}`,
		`{apiVersion: authentication.istio.io/v1alpha1, kind: Policy, metadata: {name: open, namespace: a}, spec: {targets: [{name: web}], peers: [{mtls: {mode: PERMISSIVE}}]}}`)
	s := collect(t, c)
	var said []string
	for _, p := range s.MTLS.Policies {
		said = append(said, fmt.Sprintf("%s %s (%s) %t", p.Ref(), p.Mode, p.Scope, p.Server()))
	}
	want := `DestinationRule a/dr ISTIO_MUTUAL (host web) false
DestinationRule a/dr DISABLE (host web, a port) false
DestinationRule a/dr MUTUAL (host web, subset v1) false
MeshPolicy default STRICT () true
PeerAuthentication a/web DISABLE (workloads app=web port 80) true
PeerAuthentication a/web UNSET (workloads app=web) true
PeerAuthentication istio-system/default STRICT () true
Policy a/empty DISABLE () true
Policy a/open PERMISSIVE (some services) true`
	for _, line := range strings.Split(want, "\n") {
		if !strings.Contains(strings.Join(said, "\n"), line) {
			t.Errorf("%s is not in\n%s", line, strings.Join(said, "\n"))
		}
	}
	if len(said) != 9 {
		t.Errorf("%d policies", len(said))
	}
	if m := s.MTLS; m.AuthPolicy != mesh.MutualTLS || m.ControlPlaneAuthPolicy != "NONE" || m.AutoMTLS == nil || *m.AutoMTLS {
		t.Errorf("mesh config: %+v", m)
	}
	if len(s.Gaps) > 0 {
		t.Errorf("gaps: %v", s.Gaps)
	}
	forbid(&dynamic.Fake, "list", "destinationrules")
	s = collect(t, c)
	// No gate closes for it.
	if len(s.Gaps) != 0 || len(s.Beside) != 1 || s.Beside[0].Resource != "destinationrules" || s.Beside[0].Verb != "list" || len(s.MTLS.Policies) != 6 {
		t.Errorf("a refusal: %+v, %+v, %d policies", s.Gaps, s.Beside, len(s.MTLS.Policies))
	}
}
