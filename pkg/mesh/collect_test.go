package mesh_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ktesting "k8s.io/client-go/testing"
)

// whole is a small mesh with one of everything.
func whole(t testing.TB) (root, ca *authority, objects []runtime.Object) {
	root = newAuthority(t, "root", nil)
	ca = newAuthority(t, "ca", root)
	d := istiod("default", "hub/pilot:1.30.3", env("ISTIO_MULTIROOT_MESH", "1")...)
	sidecar := running("a", "server", map[string]string{"pod-template-hash": "h"}, agent(env("PROXY_CONFIG_XDS_AGENT", "T", "CA_ADDR", "istiod.istio-system.svc:15012")...))
	sidecar.Annotations = map[string]string{"istio.io/rev": "default"}
	sidecar.OwnerReferences = controlledBy("ReplicaSet", "server-h")
	mute := running("a", "mute", nil, agent())
	pending := running("a", "pending", nil, agent())
	pending.Status = corev1.PodStatus{Phase: corev1.PodPending}
	stranger := injector("another-mesh", nil, "istiod", root.pem)
	stranger.Webhooks[0].ClientConfig.Service.Namespace = "elsewhere"
	policy := admissionv1.Ignore
	seen := metav1.NewTime(clock.Add(-time.Minute))
	renewed := metav1.NewMicroTime(clock.Add(-3 * time.Second))
	return root, ca, []runtime.Object{
		d, replica(d, "x"), sidecar, mute, pending,
		running("a", "bare", nil, corev1.Container{Name: "app"}), running("b", "bare", nil, corev1.Container{Name: "app"}),
		running("kube-system", "ztunnel-1", map[string]string{"app": "ztunnel"}, corev1.Container{Name: "istio-proxy", Image: "hub/ztunnel:1.30.3"}),
		secret("cacerts", plugged(root, ca)), secret("istio-ca-secret", selfSigned(newAuthority(t, "old", nil))),
		namespace("istio-system", nil), namespace("a", map[string]string{"istio-injection": "enabled"}), namespace("b", nil), namespace("kube-system", nil),
		trust("istio-system", root.pem), trust("a", root.pem), configMap("b", "other", map[string]string{"root-cert.pem": "no"}),
		configMap("istio-system", "istio", map[string]string{"mesh": "trustDomain: td.example\ncaCertificates:\n- pem: |\n    " + strings.ReplaceAll(string(root.pem), "\n", "\n    ") + "\n", "meshNetworks": "networks: {}"}),
		injector("istio-sidecar-injector", map[string]string{"istio.io/rev": "default"}, "istiod", root.pem),
		injector("cert-manager", nil, "cert-manager-webhook", root.pem), stranger,
		&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "istio-validator"}, Webhooks: []admissionv1.ValidatingWebhook{
			{Name: "v.istio.io", FailurePolicy: &policy, ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "istio-system", Name: "istiod"}}},
		}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: seen}}}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gone"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, LastHeartbeatTime: metav1.NewTime(clock), LastTransitionTime: seen}}}},
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-node-lease", Name: "gone"}, Spec: coordinationv1.LeaseSpec{RenewTime: &renewed}},
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-node-lease", Name: "node"}, Spec: coordinationv1.LeaseSpec{RenewTime: &renewed}},
	}
}

func TestCollect(t *testing.T) {
	root, ca, objects := whole(t)
	leaf := newAuthority(t, "leaf", ca)
	c, _ := collector(envoy(joined(leaf.pem, ca.pem), root.pem), objects...)
	c.Where = mesh.Cluster{Context: "here"}
	c.Skew = func() time.Duration { return 90*time.Second + time.Millisecond }
	var progress []int
	c.Progress = func(done, of int) { progress = append(progress, 10*of+done) }
	s := collect(t, c)

	if len(s.Gaps) > 0 {
		t.Errorf("gaps: %+v", s.Gaps)
	}
	if s.TakenAt != clock || s.Cluster.Context != "here" || s.TrustDomain != "td.example" || time.Duration(s.ClockSkew) != 90*time.Second {
		t.Errorf("%v %+v %q %v", s.TakenAt, s.Cluster, s.TrustDomain, s.ClockSkew)
	}
	if len(s.MeshCACertificates) != 1 || !s.MeshCACertificates[0].Equal(root.cert) {
		t.Errorf("mesh CA certificates: %v", s.MeshCACertificates)
	}
	if len(s.ControlPlanes) != 1 {
		t.Fatalf("control planes: %+v", s.ControlPlanes)
	}
	plane := s.ControlPlanes[0]
	if !plane.Settled || plane.Version != "1.30.3" || !plane.Flags.MultiRoot || len(plane.Replicas) != 1 || !plane.Replicas[0].Ready {
		t.Errorf("control plane: %+v", plane)
	}
	if plane.CA.Kind != mesh.CAPlugged || !plane.CA.KeyMatches || !bytes.Equal(plane.CA.Root.Raw, root.pem) {
		t.Errorf("CA: %+v", plane.CA)
	}
	if s.LeftoverCASecret == nil || s.LeftoverCASecret.Secret != "istio-ca-secret" {
		t.Errorf("leftover: %+v", s.LeftoverCASecret)
	}

	trusted := map[string]bool{}
	for _, n := range s.Namespaces {
		trusted[n.Name] = n.Trust != nil
	}
	if fmt.Sprint(trusted) != "map[a:true b:false istio-system:true kube-system:false]" {
		t.Errorf("namespaces: %v", trusted)
	}
	if len(s.Webhooks) != 2 || s.Webhooks[0].Error != "" || !s.Webhooks[0].Fatal || s.Webhooks[1].Error == "" || !s.Webhooks[1].Blank || s.Webhooks[1].Fatal {
		t.Errorf("webhooks: %+v", s.Webhooks)
	}

	proxies := map[string]mesh.Proxy{}
	for _, p := range s.Proxies {
		proxies[p.Ref()] = p
	}
	if len(proxies) != 4 || !slices.IsSortedFunc(s.Proxies, func(a, b mesh.Proxy) int { return strings.Compare(a.Ref(), b.Ref()) }) {
		t.Fatalf("proxies: %d", len(s.Proxies))
	}
	server := proxies["a/server"]
	if server.Loaded == nil || !server.Loaded.Identities[0].Leaf().Equal(leaf.cert) || server.Reach != mesh.ReachPush {
		t.Errorf("server: %+v", server)
	}
	if (server.Workload != mesh.Workload{Kind: "Deployment", Name: "server"}) || server.Revision != "default" {
		t.Errorf("server: %+v, revision %q", server.Workload, server.Revision)
	}
	for name, want := range map[string]string{"a/mute": "connection refused", "a/pending": "it has not started yet: the pod is Pending"} {
		if p := proxies[name]; p.Loaded != nil || !strings.Contains(p.Error, want) {
			t.Errorf("%s: %q", name, p.Error)
		}
	}
	if z := proxies["kube-system/ztunnel-1"]; z.Kind != mesh.Ztunnel || z.Version != "1.30.3" || !z.Ready || z.Reach != mesh.ReachRenewal || z.Loaded == nil || z.Loaded.Evidence != proxy.EvidenceZtunnelDump {
		t.Errorf("ztunnel: %+v", z)
	}
	if fmt.Sprint(progress) != "[31 32 33]" {
		t.Errorf("progress: %v", progress)
	}
	if fmt.Sprintf("%+v", s.Uninjected) != "[{Namespace:a Name:bare Why:it was made without a proxy: before injection was on, or while the webhook did not answer}]" {
		t.Errorf("uninjected: %+v", s.Uninjected)
	}
	nodes := map[string]mesh.Node{}
	for _, n := range s.Nodes {
		nodes[n.Name] = n
	}
	if n := nodes["node"]; !n.Ready || !n.LastReady.Equal(clock.Add(-3*time.Second)) {
		t.Errorf("node: %+v", n)
	}
	if n := nodes["gone"]; n.Ready || !n.LastReady.Equal(clock.Add(-time.Minute)) {
		t.Errorf("a node that is gone: %+v", n)
	}
}

// TestParts: a look reads what was asked for, and nothing else.
func TestParts(t *testing.T) {
	root, ca, objects := whole(t)
	c, kube := collector(envoy(ca.pem, root.pem), objects...)
	for name, test := range map[string]struct {
		parts   mesh.Parts
		asked   string
		unasked string
	}{
		"istiods":      {mesh.Parts{}, "deployments pods", "namespaces configmaps secrets nodes mutatingwebhookconfigurations"},
		"published":    {mesh.Parts{Published: true}, "namespaces configmaps mutatingwebhookconfigurations", "secrets nodes"},
		"surroundings": {mesh.Parts{Surroundings: true}, "secrets nodes leases services", "mutatingwebhookconfigurations"},
	} {
		kube.ClearActions()
		s, err := c.Read(t.Context(), test.parts)
		if err != nil || len(s.ControlPlanes) != 1 || len(s.Proxies) > 0 || len(s.Gaps) > 0 {
			t.Fatalf("%s: %v %+v", name, err, s)
		}
		asked := map[string]bool{}
		for _, a := range kube.Actions() {
			asked[a.GetResource().Resource] = true
		}
		for _, r := range strings.Fields(test.asked) {
			if !asked[r] {
				t.Errorf("%s: %s were not read", name, r)
			}
		}
		for _, r := range strings.Fields(test.unasked) {
			if asked[r] && !(name == "surroundings" && r == "namespaces") {
				t.Errorf("%s: %s were read", name, r)
			}
		}
	}
	known := &proxy.Loaded{At: clock.Add(-time.Hour)}
	s, err := c.Read(t.Context(), mesh.Parts{Proxies: true, Known: map[string]*proxy.Loaded{"aserver": known}})
	if err != nil {
		t.Fatal(err)
	}
	if p := s.Proxies[slices.IndexFunc(s.Proxies, func(p mesh.Proxy) bool { return p.Name == "server" })]; p.Loaded != known {
		t.Error("a known reading was done again")
	}
	if s, err = c.Read(t.Context(), mesh.Parts{Proxies: true, Counters: true, Known: map[string]*proxy.Loaded{"aserver": known}}); err != nil {
		t.Fatal(err)
	}
	if p := s.Proxies[slices.IndexFunc(s.Proxies, func(p mesh.Proxy) bool { return p.Name == "server" })]; len(p.Upstreams) != 1 || p.Upstreams[0].Connections != 3 {
		t.Errorf("counters: %+v %s", p.Upstreams, p.Error)
	}
	if s, err = c.Read(t.Context(), mesh.Parts{Proxies: true, Unread: true}); err != nil || len(s.Proxies) == 0 {
		t.Fatalf("%d proxies are listed, %v", len(s.Proxies), err)
	}
	for _, p := range s.Proxies {
		if p.Loaded != nil || p.Error == "" {
			t.Errorf("%s: %+v, %q: what was not to be read is known, or nothing says that it is not", p.Ref(), p.Loaded, p.Error)
		}
	}
}

func TestNoKeyLeaves(t *testing.T) {
	root, ca, objects := whole(t)
	for _, o := range objects {
		if secret, ok := o.(*corev1.Secret); ok {
			secret.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": string(secret.Data["ca-key.pem"])}
			secret.Data["more.pem"] = ca.key
		}
	}
	c, _ := collector(envoy(ca.pem, root.pem), objects...)
	var text bytes.Buffer
	if err := collect(t, c).WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	// The third line of the key is that of its public half, which certificates show.
	for _, line := range strings.Split(string(ca.key), "\n")[:3] {
		if strings.Contains(text.String(), line) {
			t.Fatalf("the snapshot holds %q of a key", line)
		}
	}
	if strings.Contains(text.String(), "last-applied") {
		t.Error("the snapshot holds an annotation of a Secret")
	}
}

// forbid makes the API server refuse a verb on a resource.
func forbid(kube *ktesting.Fake, verb, resource string) {
	kube.PrependReactor(verb, resource, func(a ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "", errors.New("no role"))
	})
}

func TestForbiddenIsAGap(t *testing.T) {
	_, _, objects := whole(t)
	for resource, verb := range map[string]string{
		"deployments": "list", "pods": "list", "namespaces": "list", "configmaps": "*", "secrets": "*", "nodes": "list", "services": "list",
		"mutatingwebhookconfigurations": "list", "validatingwebhookconfigurations": "list", "workloadentries": "list",
	} {
		t.Run(resource, func(t *testing.T) {
			c, kube := collector(nil, objects...)
			dynamic := entries()
			c.Dynamic = dynamic
			forbid(&kube.Fake, verb, resource)
			forbid(&dynamic.Fake, verb, resource)
			s := collect(t, c)
			i := slices.IndexFunc(s.Gaps, func(g mesh.Gap) bool {
				return g.Resource == resource && g.Verb != "" && strings.Contains(g.Error, "no role")
			})
			if i < 0 {
				t.Fatalf("no gap names it: %+v", s.Gaps)
			}
			if verb == "list" && (!s.Gaps[i].Incomplete || s.Gaps[i].Verb != "list") {
				t.Errorf("%+v", s.Gaps[i])
			}
			for _, g := range s.Gaps {
				if g.Resource != resource {
					t.Errorf("another gap: %+v", g)
				}
			}
			switch resource {
			case "secrets":
				if s.ControlPlanes[0].CA.Kind != mesh.CAUnknown || s.LeftoverCASecret != nil {
					t.Errorf("%+v", s.ControlPlanes[0].CA)
				}
			case "configmaps":
				for _, n := range s.Namespaces {
					if n.Trust == nil || n.Trust.Error == "" {
						t.Errorf("%s has %+v: what was not seen is not known to be missing", n.Name, n.Trust)
					}
				}
			case "namespaces":
				if len(s.Namespaces) != 2 {
					t.Errorf("the ConfigMaps tell of two namespaces, not %d", len(s.Namespaces))
				}
			case "deployments":
				if len(s.ControlPlanes) != 1 || len(s.ControlPlanes[0].Replicas) != 1 || s.ControlPlanes[0].Name != "istiod" {
					t.Errorf("its pod was there to be seen: %+v", s.ControlPlanes)
				}
			}
		})
	}
}

func TestConfigMapsOneByOne(t *testing.T) {
	_, _, objects := whole(t)
	c, kube := collector(nil, objects...)
	forbid(&kube.Fake, "list", "configmaps")
	s := collect(t, c)
	if len(s.Gaps) > 0 {
		t.Errorf("%+v", s.Gaps)
	}
	for _, n := range s.Namespaces {
		if want := n.Name == "a" || n.Name == "istio-system"; (n.Trust != nil) != want {
			t.Errorf("%s: %+v", n.Name, n.Trust)
		}
	}
}

func TestConfigMapsFail(t *testing.T) {
	_, _, objects := whole(t)
	c, kube := collector(nil, objects...)
	kube.PrependReactor("list", "configmaps", func(ktesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("etcd is away") })
	s := collect(t, c)
	if len(s.Gaps) != 1 || s.Gaps[0].Verb != "" || !s.Gaps[0].Incomplete {
		t.Errorf("%+v", s.Gaps)
	}
	for _, n := range s.Namespaces {
		if n.Trust == nil || !strings.Contains(n.Trust.Error, "etcd is away") {
			t.Errorf("%s: %+v", n.Name, n.Trust)
		}
	}
}

func TestNothingCanBeSaid(t *testing.T) {
	for _, resource := range []string{"version", "deployments", "pods"} {
		c, kube := collector(nil)
		kube.PrependReactor("*", resource, func(ktesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("connection refused")
		})
		if _, err := c.Collect(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%s: %v", resource, err)
		}
	}
}

func TestNeitherMayBeListed(t *testing.T) {
	c, kube := collector(nil)
	forbid(&kube.Fake, "list", "deployments")
	forbid(&kube.Fake, "list", "pods")
	if _, err := c.Collect(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("%v: a mesh that may not be looked at was taken for none", err)
	}
}

// paged answers list requests for pods in pages of two, as an API server does.
// fail may spoil a request.
func paged(kube *ktesting.Fake, pods []*corev1.Pod, fail func(from int) error) {
	kube.PrependReactor("list", "pods", func(a ktesting.Action) (bool, runtime.Object, error) {
		list := a.(ktesting.ListActionImpl)
		if list.GetListRestrictions().Labels.String() != "" {
			return false, nil, nil
		}
		from, _ := strconv.Atoi(list.ListOptions.Continue)
		if list.ListOptions.Limit <= 0 {
			return true, nil, errors.New("a list without a limit")
		}
		if err := fail(from); err != nil {
			return true, nil, err
		}
		page := &corev1.PodList{}
		for _, pod := range pods[from:min(from+2, len(pods))] {
			page.Items = append(page.Items, *pod)
		}
		if from+2 < len(pods) {
			page.Continue = strconv.Itoa(from + 2)
		}
		return true, page, nil
	})
}

func TestPages(t *testing.T) {
	d := istiod("default", "hub/pilot:1.30.3")
	var pods []*corev1.Pod
	for i := range 7 {
		pods = append(pods, running("a", "p"+strconv.Itoa(i), nil, agent()))
	}
	expired := func(times int) func(int) error {
		return func(from int) error {
			if from == 4 && times > 0 {
				times--
				return apierrors.NewResourceExpired("the continue token is too old")
			}
			return nil
		}
	}
	for name, test := range map[string]struct {
		fail    func(from int) error
		proxies int
		gap     string
	}{
		"four pages":              {expired(0), 7, ""},
		"a token expires once":    {expired(1), 7, ""},
		"a token expires twice":   {expired(2), 4, "too old"},
		"a page fails":            {func(from int) error { return map[int]error{2: errors.New("etcd is away")}[from] }, 2, "etcd is away"},
		"the first page is stale": {func(from int) error { return map[int]error{0: apierrors.NewResourceExpired("odd")}[from] }, 0, "odd"},
	} {
		t.Run(name, func(t *testing.T) {
			c, kube := collector(nil, d, replica(d, "x"))
			paged(&kube.Fake, pods, test.fail)
			s := collect(t, c)
			if len(s.Proxies) != test.proxies {
				t.Errorf("%d proxies, want %d", len(s.Proxies), test.proxies)
			}
			if test.gap == "" {
				if len(s.Gaps) > 0 {
					t.Errorf("%+v", s.Gaps)
				}
				return
			}
			if len(s.Gaps) != 1 || !s.Gaps[0].Incomplete || s.Gaps[0].Resource != "pods" || !strings.Contains(s.Gaps[0].Error, test.gap) {
				t.Errorf("%+v", s.Gaps)
			}
		})
	}
}

func TestControlPlanes(t *testing.T) {
	stable, canary := istiod("default", "hub/pilot:1.29.0"), istiod("canary", "hub/pilot:1.30.3")
	stable.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "istiod"}} // selects the canary's pods too
	ended := replica(stable, "old")
	ended.Status.Phase = corev1.PodFailed
	bare := running("mesh", "istiod-bare", map[string]string{"app": "istiod", "istio.io/rev": "bare"}, corev1.Container{Name: "x", Image: "hub:5000/istio/pilot@sha256:00"})
	stateful := running("mesh", "istiod-0", map[string]string{"app": "istiod"}, corev1.Container{Name: "discovery", Image: "hub/pilot:1.28.0"})
	stateful.OwnerReferences = controlledBy("StatefulSet", "istiod")
	other := running("mesh", "istiod-exporter", map[string]string{"app": "istiod"}, corev1.Container{Name: "exporter", Image: "hub/exporter:1"})
	c, _ := collector(nil, stable, canary, replica(stable, "x"), replica(canary, "x"), ended, bare, stateful, other)
	s := collect(t, c)
	var got []string
	for _, p := range s.ControlPlanes {
		got = append(got, fmt.Sprintf("%s/%s %s %q %d/%d %t", p.Namespace, p.Name, p.Revision, p.Version, len(p.Replicas), p.Desired, p.Settled))
	}
	slices.Sort(got)
	want := `[istio-system/istiod default "1.29.0" 1/1 true istio-system/istiod-canary canary "1.30.3" 1/1 true mesh/istiod default "1.28.0" 1/1 true mesh/istiod-bare bare "" 1/1 true]`
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}

	c.Revision = "canary"
	if s := collect(t, c); len(s.ControlPlanes) != 1 || s.ControlPlanes[0].Name != "istiod-canary" || !slices.Equal(s.LeftOut, []string{"istio-system/istiod"}) {
		t.Errorf("--revision: %+v without %v", s.ControlPlanes, s.LeftOut)
	}
	c.Revision, c.IstioNamespace = "", "mesh"
	if s := collect(t, c); len(s.ControlPlanes) != 2 {
		t.Errorf("--istio-namespace: %+v", s.ControlPlanes)
	}
}

func TestSettled(t *testing.T) {
	for name, spoil := range map[string]func(*appsv1.Deployment, *corev1.Pod){
		"a generation that was not observed": func(d *appsv1.Deployment, _ *corev1.Pod) { d.Generation = 2 },
		"an old pod":                         func(d *appsv1.Deployment, _ *corev1.Pod) { d.Status.Replicas = 2 },
		"not updated":                        func(d *appsv1.Deployment, _ *corev1.Pod) { d.Status.UpdatedReplicas = 0 },
		"not available":                      func(d *appsv1.Deployment, _ *corev1.Pod) { d.Status.AvailableReplicas = 0 },
		"a pod that is not ready":            func(_ *appsv1.Deployment, p *corev1.Pod) { p.Status.Conditions = nil },
		"a pod that is terminating": func(_ *appsv1.Deployment, p *corev1.Pod) {
			p.DeletionTimestamp = &metav1.Time{Time: clock}
			p.Finalizers = []string{"x/y"}
		},
		"no pod": func(_ *appsv1.Deployment, p *corev1.Pod) { p.Labels = nil },
	} {
		d := istiod("default", "hub/pilot:1.30.3")
		pod := replica(d, "x")
		c, _ := collector(nil, d, pod)
		if !collect(t, c).ControlPlanes[0].Settled {
			t.Fatal("a complete rollout is not settled")
		}
		spoil(d, pod)
		c, _ = collector(nil, d, pod)
		if collect(t, c).ControlPlanes[0].Settled {
			t.Errorf("settled with %s", name)
		}
	}
}

func TestReleaseByItsOwnWord(t *testing.T) {
	d := istiod("default", "hub/pilot@sha256:00", env("PILOT_CA_CERT_CONFIGMAP", "elsewhere")...)
	c, _ := collector(envoy(nil, nil), d, replica(d, "x"))
	plane := collect(t, c).ControlPlanes[0]
	if plane.Version != "1.30.3" || plane.Replicas[0].Version != "1.30.3" || plane.Flags.TrustConfigMap != "elsewhere" {
		t.Errorf("%q, %+v", plane.Version, plane.Flags)
	}
	silent := replica(d, "y")
	silent.Name = "mute"
	c, _ = collector(envoy(nil, nil), d, replica(d, "x"), silent)
	if plane := collect(t, c).ControlPlanes[0]; plane.Version != "" || plane.Replicas[0].Version != "1.30.3" {
		t.Errorf("%q, though one of the replicas does not say", plane.Version)
	}
	c.Dialer = nil
	if plane := collect(t, c).ControlPlanes[0]; plane.Version != "" {
		t.Errorf("%q without asking", plane.Version)
	}
}

// A tag without a patch is whatever its registry had of that line: who it is says itself,
// and where it does not, nothing is concluded from the line that another patch contradicts.
func TestReleaseWithoutAPatch(t *testing.T) {
	d := istiod("default", "hub/pilot:1.26")
	c, _ := collector(envoy(nil, nil), d, replica(d, "x"))
	if plane := collect(t, c).ControlPlanes[0]; plane.Version != "1.30.3" || plane.Replicas[0].Version != "1.30.3" {
		t.Errorf("%q, %q: its own word counts", plane.Version, plane.Replicas[0].Version)
	}
	c.Dialer = nil
	if plane := collect(t, c).ControlPlanes[0]; plane.Version != "1.26" {
		t.Errorf("%q without asking", plane.Version)
	}
	root := newAuthority(t, "root", nil)
	half := map[string][]byte{"root-cert.pem": root.pem}
	tls := map[string][]byte{"tls.crt": root.pem, "tls.key": root.key, "ca.crt": root.pem}
	for _, row := range []struct {
		tag  string
		data map[string][]byte
		want mesh.CAKind
	}{
		{"1.26", half, mesh.CAUnknown}, {"1.25", half, mesh.CASelfSigned}, {"1.27", half, mesh.CAPlugged},
		{"1.14", tls, mesh.CAUnknown}, {"1.13", tls, mesh.CASelfSigned}, {"1.15", tls, mesh.CAPluggedTLS},
	} {
		d := istiod("default", "hub/pilot:"+row.tag)
		c, _ := collector(nil, d, replica(d, "x"), secret("cacerts", row.data), secret("istio-ca-secret", selfSigned(root)))
		if ca := collect(t, c).ControlPlanes[0].CA; ca.Kind != row.want {
			t.Errorf("%s: %s (%s)", row.tag, ca.Kind, ca.Why)
		}
	}
	for tag, want := range map[string]int{"1.19": 1, "1.18": 0, "1.20": 0, "1.19.6": 0} {
		d := istiod("default", "hub/pilot:"+tag, env("USE_CACERTS_FOR_SELF_SIGNED_CA", "true")...)
		c, _ := collector(nil, d, replica(d, "x"), secret("istio-ca-secret", selfSigned(root)))
		if s := collect(t, c); len(s.Gaps) != want {
			t.Errorf("%s: %+v", tag, s.Gaps)
		}
	}
}

func TestReleaseOfAnImage(t *testing.T) {
	root := newAuthority(t, "root", nil)
	d := istiod("default", "hub/pilot:1.30.3", env("ISTIO_MULTIROOT_MESH", "true")...)
	container := agent(env("PROXY_CONFIG_XDS_AGENT", "true")...)
	container.Image = "hub/proxyv2@sha256:00"
	c, _ := collector(envoy(root.pem, root.pem), d, replica(d, "x"), running("a", "server", nil, container), running("a", "mute", nil, container))
	for _, p := range collect(t, c).Proxies {
		if p.Reach != mesh.ReachPush {
			t.Errorf("%s: %s (%s): another proxy of the same image says that it is 1.29 or later", p.Ref(), p.Reach, p.ReachWhy)
		}
	}
	c, _ = collector(envoy(root.pem, root.pem), d, replica(d, "x"), running("a", "mute", nil, container))
	if p := collect(t, c).Proxies[0]; p.Reach != mesh.ReachUnknown {
		t.Errorf("%s (%s)", p.Reach, p.ReachWhy)
	}
}

func TestManaged(t *testing.T) {
	root := newAuthority(t, "root", nil)
	url := "https://managed.example/inject"
	byURL := injector("istiod-asm-managed", map[string]string{"istio.io/rev": "asm-managed"}, "", root.pem)
	byURL.Webhooks[0].ClientConfig = admissionv1.WebhookClientConfig{URL: &url, CABundle: root.pem}
	pod := running("a", "p", nil, agent())
	remote := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod", Labels: map[string]string{"app": "istiod"}}}
	recent := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod", Labels: map[string]string{"app.kubernetes.io/name": "istiod"}}}
	service := injector("istio-sidecar-injector", nil, "istiod", root.pem)
	for name, test := range map[string]struct {
		objects   []runtime.Object
		managed   bool
		elsewhere string
	}{
		"a webhook by URL":            {[]runtime.Object{byURL}, true, "by URL"},
		"a webhook, and a proxy":      {[]runtime.Object{service, pod}, true, ""},
		"a webhook, a remote service": {[]runtime.Object{service, remote}, true, "istio-system/istiod"},
		"one of 1.24 on":              {[]runtime.Object{service, recent}, true, "istio-system/istiod"},
		"a ConfigMap, and a proxy":    {[]runtime.Object{namespace("a", nil), trust("a", root.pem), pod}, true, ""},
		"what is left of an Istio":    {[]runtime.Object{service, namespace("a", nil), trust("a", root.pem)}, false, ""},
		"a proxy alone":               {[]runtime.Object{pod}, false, ""},
	} {
		c, kube := collector(nil, test.objects...)
		s := collect(t, c)
		if managed := len(s.ControlPlanes) == 1 && s.ControlPlanes[0].CA.Kind == mesh.CAUnsupported && s.ControlPlanes[0].CA.Why != ""; managed != test.managed {
			t.Errorf("%s: %+v", name, s.ControlPlanes)
		}
		if test.managed && (s.ControlPlanes[0].Elsewhere == "") != (test.elsewhere == "") || test.managed && !strings.Contains(s.ControlPlanes[0].Elsewhere, test.elsewhere) {
			t.Errorf("%s: its istiod is elsewhere: %q", name, s.ControlPlanes[0].Elsewhere)
		}
		forbid(&kube.Fake, "list", "pods")
		if s := collect(t, c); len(s.ControlPlanes) != 0 {
			t.Errorf("%s: called managed, though its pods may not be seen", name)
		}
	}
	// An istiod of a namespace, or of a revision, that was not asked for is none elsewhere.
	d := istiod("default", "hub/pilot:1.30.3")
	for name, narrow := range map[string]func(*mesh.Collector){
		"its namespace": func(c *mesh.Collector) { c.IstioNamespace = "istio-typo" },
		"its revision":  func(c *mesh.Collector) { c.Revision = "asm-managed" },
	} {
		c, _ := collector(nil, d, replica(d, "x"), byURL, pod, namespace("a", nil), trust("a", root.pem))
		narrow(c)
		if s := collect(t, c); slices.ContainsFunc(s.ControlPlanes, func(p mesh.ControlPlane) bool { return p.Elsewhere != "" }) {
			t.Errorf("%s was not asked for, and it is called elsewhere", name)
		}
	}
	base := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "istiod-default-validator"}, Webhooks: []admissionv1.ValidatingWebhook{
		{Name: "v.istio.io", ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "istio-system", Name: "istiod"}}},
	}}
	c, _ := collector(nil, namespace("a", nil), base)
	if s := collect(t, c); len(s.ControlPlanes) != 0 || len(s.Namespaces) != 0 {
		t.Errorf("a cluster without Istio: %+v", s)
	}
}

func TestDiscoverySelectors(t *testing.T) {
	d := istiod("default", "hub/pilot:1.30.3")
	objects := []runtime.Object{
		d, replica(d, "x"), running("with-proxy", "p", nil, agent()),
		namespace("istio-system", nil), namespace("in", map[string]string{"env": "prod"}), namespace("out", map[string]string{"env": "dev"}),
		namespace("with-proxy", nil), namespace("injected", map[string]string{"istio-injection": "enabled"}),
	}
	names := func(mesh ...string) string {
		t.Helper()
		all := objects
		for i, text := range mesh {
			all = append(all, configMap("istio-system", []string{"istio", "istio-canary"}[i], map[string]string{"mesh": text}))
		}
		c, _ := collector(nil, all...)
		var names []string
		for _, n := range collect(t, c).Namespaces {
			names = append(names, n.Name)
		}
		return strings.Join(names, " ")
	}
	if got := names(); got != "in injected istio-system out with-proxy" {
		t.Error(got)
	}
	selectors := "discoverySelectors: [{matchExpressions: [{key: env, operator: In, values: [prod]}]}]"
	// Istiod's own namespace is none of them by itself: it writes no ConfigMap there.
	if got := names(selectors); got != "in injected with-proxy" {
		t.Error(got)
	}
	gateway := running("istio-system", "gateway", nil, agent())
	objects = append(objects, gateway)
	if got := names(selectors); got != "in injected istio-system with-proxy" {
		t.Error(got)
	}
	objects = append(objects, istiod("canary", "hub/pilot:1.30.3"))
	if got := names(selectors, "{}"); got != "in injected istio-system out with-proxy" {
		t.Errorf("the canary serves all namespaces: %s", got)
	}
}

func TestMeshConfigs(t *testing.T) {
	d, canary := istiod("default", "hub/pilot:1.30.3", env("SHARED_MESH_CONFIG", "shared")...), istiod("canary", "hub/pilot:1.30.3", env("PILOT_CA_CERT_CONFIGMAP", "other")...)
	c, _ := collector(nil, d, canary,
		configMap("istio-system", "shared", map[string]string{"mesh": "trustDomain: shared.example\ncaCertificates: [{spiffeBundleUrl: https://x}]"}),
		configMap("istio-system", "istio", map[string]string{"mesh": "caCertificates: [{pem: no certificate}]", "meshNetworks": "networks: {east: {}}"}),
		configMap("istio-system", "istio-canary", map[string]string{"mesh": "trustDomain: canary.example"}))
	s := collect(t, c)
	var parts []string
	for _, g := range s.Gaps {
		parts = append(parts, g.Part)
	}
	want := []string{"meshConfig.caCertificates of istio-system/istio", "published roots", "trust domain"}
	if !slices.Equal(parts, want) {
		t.Errorf("%q", parts)
	}
	if len(s.MeshCAURLs) > 0 {
		t.Errorf("no istiod hands out what is fetched: %v", s.MeshCAURLs)
	}
	if fmt.Sprint(s.Remotes) != "[{mesh-networks istio-system east}]" {
		t.Errorf("%v", s.Remotes)
	}
}

// What istiods fetch is no part that a role could read: it is said where one of them hands
// it out, and the operator may name it.
func TestFetchedMeshRoots(t *testing.T) {
	root := newAuthority(t, "root", nil)
	urls := configMap("istio-system", "istio", map[string]string{"mesh": "caCertificates: [{spiffeBundleUrl: https://x}, {spiffeBundleUrl: https://x}, {spiffeBundleUrl: https://y}]"})
	for flag, want := range map[string]string{"true": "[https://x https://y]", "false": "[]"} {
		c, _ := collector(nil, istiod("default", "hub/pilot:1.30.3", env("ISTIO_MULTIROOT_MESH", flag)...), urls)
		s := collect(t, c)
		if fmt.Sprint(s.MeshCAURLs) != want || len(s.Gaps) > 0 {
			t.Errorf("%s: %v, %+v", flag, s.MeshCAURLs, s.Gaps)
		}
		s.NameMeshRoots(nil)
		if fmt.Sprint(s.MeshCAURLs) != want {
			t.Errorf("nothing was named: %v", s.MeshCAURLs)
		}
		s.NameMeshRoots([]*pki.Certificate{root.cert, root.cert})
		if len(s.MeshCAURLs) > 0 || len(s.MeshCACertificates) != 1 {
			t.Errorf("named: %v, %d", s.MeshCAURLs, len(s.MeshCACertificates))
		}
	}
}

func TestRemotes(t *testing.T) {
	d := istiod("default", "hub/pilot:1.30.3")
	service := func(namespace, name string, labels, selector map[string]string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}, Spec: corev1.ServiceSpec{Selector: selector}}
	}
	remote := secret("istio-remote-secret-b", map[string][]byte{"b": []byte("kubeconfig")})
	remote.Labels = map[string]string{"istio/multiCluster": "true"}
	both := map[string]string{"istio": "eastwestgateway", "topology.istio.io/network": "n"}
	objects := []runtime.Object{
		d, remote, service("gw", "east", both, both), service("gw2", "east", map[string]string{"istio": "eastwestgateway"}, both),
		service("istio-system", "istiod", map[string]string{"app": "istiod"}, map[string]string{"app": "istiod"}),
		service("istio-system", "istiod-external", map[string]string{"app": "istiod"}, nil),
	}
	c, kube := collector(nil, objects...)
	if got := fmt.Sprint(collect(t, c).Remotes); got != "[{remote-secret istio-system istio-remote-secret-b} {east-west-gateway gw east} {east-west-gateway gw2 east} {remote-istiod istio-system istiod-external}]" {
		t.Error(got)
	}
	c.NoSecrets = true
	kube.ClearActions()
	s := collect(t, c)
	for _, a := range kube.Actions() {
		if a.GetResource().Resource == "secrets" {
			t.Errorf("asked for Secrets: %v", a)
		}
	}
	if len(s.Gaps) != 1 || s.Gaps[0].Resource != "secrets" {
		t.Errorf("that other clusters were not looked for is not said: %+v", s.Gaps)
	}
}

func TestVirtualMachines(t *testing.T) {
	entry := func(version, name string, annotations map[string]any, spec ...string) *unstructured.Unstructured {
		about := map[string]any{"address": "10.0.0.1"}
		for i := 0; i+1 < len(spec); i += 2 {
			if spec[i] == "serviceAccount" {
				about[spec[i]] = spec[i+1]
			} else {
				about["labels"] = map[string]any{spec[i]: spec[i+1]}
			}
		}
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "networking.istio.io/" + version, "kind": "WorkloadEntry",
			"metadata": map[string]any{"namespace": "vms", "name": name, "annotations": annotations}, "spec": about,
		}}
	}
	for _, version := range []string{"v1", "v1beta1", "v1alpha3"} {
		c, _ := collector(nil)
		dynamic := entries(entry(version, "on", map[string]any{"istio.io/connectedAt": "x"}), entry(version, "off", map[string]any{"istio.io/connectedAt": "x", "istio.io/disconnectedAt": "y"}))
		dynamic.PrependReactor("list", "workloadentries", func(a ktesting.Action) (bool, runtime.Object, error) {
			if r := a.GetResource(); r.Version != version {
				return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: r.Resource}, "")
			}
			return false, nil, nil
		})
		c.Dynamic = dynamic
		s := collect(t, c)
		if want := []mesh.VM{{Namespace: "vms", Name: "off", Address: "10.0.0.1"}, {Namespace: "vms", Name: "on", Address: "10.0.0.1", Connected: true}}; !slices.Equal(s.VMs, want) || len(s.Gaps) > 0 {
			t.Errorf("%s: %v, %v", version, s.VMs, s.Gaps)
		}
	}
	// To whom nobody speaks mutual TLS, and who has not registered itself.
	const tlsMode = "security.istio.io/tlsMode"
	plainOnes, _ := collector(nil)
	plainOnes.Dynamic = entries(entry("v1", "account", nil, "serviceAccount", "db"), entry("v1", "database", nil), entry("v1", "labelled", nil, tlsMode, "istio"),
		entry("v1", "off", nil, "serviceAccount", "db", tlsMode, "disabled"), entry("v1", "registered", map[string]any{"istio.io/autoRegistrationGroup": "g"}))
	var plain []string
	for _, vm := range collect(t, plainOnes).VMs {
		if vm.Plain {
			plain = append(plain, vm.Name)
		}
	}
	if !slices.Equal(plain, []string{"database", "off"}) {
		t.Errorf("without a proxy are %v", plain)
	}
	c, _ := collector(nil)
	dynamic := entries()
	dynamic.PrependReactor("list", "*", func(a ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "workloadentries"}, "")
	})
	c.Dynamic = dynamic
	if s := collect(t, c); len(s.VMs)+len(s.Gaps) > 0 {
		t.Errorf("a cluster without the kind: %+v", s)
	}
	c.Dynamic = nil
	if s := collect(t, c); len(s.Gaps) != 1 {
		t.Errorf("without a client: %+v", s.Gaps)
	}
}

func TestTags(t *testing.T) {
	root := newAuthority(t, "root", nil)
	d := istiod("1-30", "hub/pilot:1.30.3", env("ISTIO_MULTIROOT_MESH", "true")...)
	pod := running("a", "p", map[string]string{"istio.io/rev": "prod"}, agent(env("PROXY_CONFIG_XDS_AGENT", "true")...))
	tag := injector("istio-revision-tag-prod", map[string]string{"istio.io/rev": "1-30", "istio.io/tag": "prod"}, "istiod-1-30", root.pem)
	c, _ := collector(nil, d, replica(d, "x"), pod, tag)
	s := collect(t, c)
	if !slices.Equal(s.ControlPlanes[0].Tags, []string{"prod"}) || s.Proxies[0].Reach != mesh.ReachPush {
		t.Errorf("%v, %s (%s)", s.ControlPlanes[0].Tags, s.Proxies[0].Reach, s.Proxies[0].ReachWhy)
	}
	c, _ = collector(nil, d, replica(d, "x"), pod)
	if p := collect(t, c).Proxies[0]; p.Reach != mesh.ReachUnknown {
		t.Errorf("a proxy of a revision that nobody serves: %s", p.Reach)
	}
}

func TestWorkloads(t *testing.T) {
	for name, test := range map[string]struct {
		labels map[string]string
		owners []metav1.OwnerReference
		want   mesh.Workload
	}{
		"deployment":              {map[string]string{"pod-template-hash": "h1"}, controlledBy("ReplicaSet", "web-h1"), mesh.Workload{Kind: "Deployment", Name: "web"}},
		"a dash in the name":      {map[string]string{"pod-template-hash": "h1"}, controlledBy("ReplicaSet", "web-x-h1"), mesh.Workload{Kind: "Deployment", Name: "web-x"}},
		"rollout":                 {map[string]string{"rollouts-pod-template-hash": "h1"}, controlledBy("ReplicaSet", "web-h1"), mesh.Workload{Kind: "Rollout", Name: "web"}},
		"a bare replica set":      {nil, controlledBy("ReplicaSet", "web-h1"), mesh.Workload{Kind: "ReplicaSet", Name: "web-h1"}},
		"another's label":         {map[string]string{"pod-template-hash": "h2"}, controlledBy("ReplicaSet", "web-h1"), mesh.Workload{Kind: "ReplicaSet", Name: "web-h1"}},
		"stateful set":            {nil, controlledBy("StatefulSet", "db"), mesh.Workload{Kind: "StatefulSet", Name: "db"}},
		"job":                     {nil, controlledBy("Job", "once"), mesh.Workload{Kind: "Job", Name: "once"}},
		"bare":                    {nil, nil, mesh.Workload{}},
		"an owner, no controller": {nil, []metav1.OwnerReference{{Kind: "Thing", Name: "x"}}, mesh.Workload{}},
	} {
		pod := running("a", "p", test.labels, agent())
		pod.OwnerReferences = test.owners
		if p, _ := mesh.ProxyOf(pod); p.Workload != test.want {
			t.Errorf("%s: %+v", name, p.Workload)
		}
	}
}

// What is neither an Envoy nor a ztunnel is not asked: another's words on the same port
// would prove nothing.
func TestOpaqueIsNotAsked(t *testing.T) {
	root := newAuthority(t, "root", nil)
	gateway := running("a", "gateway", map[string]string{"gateway.istio.io/managed": "istio.io-agentgateway-controller"}, corev1.Container{Name: "agentgateway", Env: env("CA_ADDRESS", "istiod.istio-system.svc:15012")})
	c, _ := collector(envoy(root.pem, root.pem), gateway, running("a", "sidecar", nil, agent()))
	s := collect(t, c)
	if len(s.Proxies) != 2 || s.Proxies[1].Loaded == nil {
		t.Fatalf("%+v", s.Proxies)
	}
	if p := s.Proxies[0]; p.Loaded != nil || p.Error == "" || p.CAAddr == "" || p.Reach != mesh.ReachRestart {
		t.Errorf("%+v", p)
	}
}
