package plugin

import (
	"bytes"
	"context"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

const istiodNamespace = "istio-system"

// gatekeeper is an API server before a rehearsed mesh that notes what is asked of
// it, and refuses by its rules; the mesh's own istiods do not pass it.
type gatekeeper struct {
	kube    *fake.Clientset
	dynamic *dynamicfake.FakeDynamicClient
	allowed []permission

	mu      sync.Mutex
	asked   map[int]map[string]bool // verbs by the index of what allows them
	refused []string
	events  bytes.Buffer // what the engine tells, as "rotate -o json" writes it
}

func newGatekeeper(m *rehearsal.Mesh, allowed []permission) *gatekeeper {
	g := &gatekeeper{kube: fake.NewClientset(), allowed: allowed, asked: map[int]map[string]bool{}}
	g.dynamic = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		{Group: "networking.istio.io", Version: "v1", Resource: "workloadentries"}:           "WorkloadEntryList",
		{Group: "certificates.k8s.io", Version: "v1beta1", Resource: "clustertrustbundles"}:  "ClusterTrustBundleList",
		{Group: "certificates.k8s.io", Version: "v1alpha1", Resource: "clustertrustbundles"}: "ClusterTrustBundleList",
		{Group: "networking.istio.io", Version: "v1beta1", Resource: "workloadentries"}:      "WorkloadEntryList",
	})
	g.dynamic.PrependReactor("*", "*", func(a k8stesting.Action) (bool, runtime.Object, error) {
		err := g.judge(a)
		return err != nil, nil, err
	})
	g.kube.PrependReactor("*", "*", func(a k8stesting.Action) (bool, runtime.Object, error) {
		if err := g.judge(a); err != nil {
			return true, nil, err
		}
		object, err := m.Kube.Invokes(a, nil)
		return true, object, err
	})
	return g
}

func (g *gatekeeper) judge(a k8stesting.Action) error {
	name := ""
	switch named := a.(type) {
	case k8stesting.CreateActionImpl: // a create says no name; that of a subresource does
		name = named.Name
	case k8stesting.UpdateActionImpl:
		if object, ok := named.GetObject().(metav1.Object); ok {
			name = object.GetName()
		}
	case interface{ GetName() string }:
		name = named.GetName()
	}
	of := a.GetResource()
	resource := of.Resource
	if of.Group == "" && (slices.Contains([]string{"", "version", "group", "resource"}, of.Resource)) {
		return nil // discovery, which everybody may ask
	}
	if s := a.GetSubresource(); s != "" {
		resource += "/" + s
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	ok := false
	for i, n := range g.allowed {
		if n.allows(a.GetVerb(), of.Group, resource, a.GetNamespace(), name, istiodNamespace) {
			if g.asked[i] == nil {
				g.asked[i] = map[string]bool{}
			}
			g.asked[i][a.GetVerb()], ok = true, true
		}
	}
	if ok {
		return nil
	}
	why := fmt.Sprintf("User \"operator\" cannot %s resource %q in API group %q", a.GetVerb(), resource, of.Group)
	g.refused = append(g.refused, fmt.Sprintf("%s (namespace %q, name %q)", why, a.GetNamespace(), name))
	return apierrors.NewForbidden(of.GroupResource(), name, fmt.Errorf("%s", why))
}

func testCA(t *testing.T, name string) (root, signer *pki.Authority) {
	t.Helper()
	root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "root " + name}, Key: pki.ECDSAP256, Now: time.Now(), PathLen: -1})
	if err != nil {
		t.Fatal(err)
	}
	signer, err = root.NewIntermediate(pki.Request{Subject: pkix.Name{CommonName: "intermediate " + name}, Key: pki.ECDSAP256, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return root, signer
}

type tick struct{}

func (tick) Now() time.Time                         { return time.Now() }
func (tick) After(d time.Duration) <-chan time.Time { return time.After(d) }

// operate looks at a rehearsed mesh with these permissions, and where rotate is
// true rotates it. It returns the first look, what was asked and the end's error.
func operate(t *testing.T, allowed []permission, strategy rotation.Strategy) (s *mesh.Snapshot, g *gatekeeper, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		oldRoot, old := testCA(t, "A")
		_, next := testCA(t, "B")
		spec := rehearsal.Spec{CA: old, MultiRoot: true, XDSAgent: true, Release: "1.30.3", Replicas: 1, Namespaces: []string{"a"}, Proxies: 1, TTL: 10 * time.Minute, Lag: time.Second}
		if strategy == rotation.CrossSign {
			spec.MultiRoot, spec.XDSAgent = false, false
		}
		m, made := rehearsal.New(ctx, tick{}, spec)
		if made != nil {
			t.Fatal(made)
		}
		g = newGatekeeper(m, allowed)
		o := &observer{
			collector: &mesh.Collector{Kube: g.kube, Dynamic: g.dynamic, Dialer: m, Now: time.Now},
			prober:    &mesh.Prober{Kube: g.kube, Dialer: m, Now: time.Now, CSR: strategy != ""},
		}
		if s, err = o.whole(ctx); err != nil || strategy == "" {
			return
		}
		staged, found := rotation.FindStaged(ctx, g.kube, istiodNamespace)
		if err = found; err != nil {
			return
		}
		config := rotation.Config{New: next, CSRProof: true}
		if strategy == rotation.CrossSign {
			if config.Cross, err = oldRoot.CrossSign(next.Roots.Certs[0], time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		plan := rotation.NewPlan(s, config)
		if err = refusal(plan); err != nil {
			return
		}
		engine := &rotation.Engine{Kube: g.kube, Observer: o, Clock: tick{}, Holder: "test", Timeout: time.Hour, Emit: newEventPrinter(genericiooptions.IOStreams{Out: &g.events, ErrOut: io.Discard}, "json").event}
		if err = engine.Run(ctx, plan, staged); err == nil {
			if err = o.close(ctx); err == nil {
				err = rotation.Retire(ctx, g.kube, "test", time.Now, istiodNamespace, plan.ID)
			}
		}
	})
	return s, g, err
}

// unrehearsed is what only "restore", the printer of the command itself, meshes that
// have these kinds, and a strategy that restarts workloads ask.
func unrehearsed(n permission, verb string) bool {
	return slices.Contains([]string{"security.istio.io", "authentication.istio.io", "cert-manager.io", "policy"}, n.group) || n.resource == "destinationrules" ||
		n.resource == "pods/eviction" || n.resource == "pods/log" || slices.Contains(n.names, "cacerts-released") || n.purpose == forRotate && n.scope == everywhere || n.resource == "events" || n.resource == "secrets" && verb == "update" && slices.Contains(n.names, "istio-ca-secret")
}

// What the commands ask is what the table allows, and no more is in the table.
func TestPermissionsAreTheLeast(t *testing.T) {
	all := needed(forRotate)
	used := map[string]bool{}
	note := func(allowed []permission, g *gatekeeper) {
		for i, verbs := range g.asked {
			for verb := range verbs {
				n := allowed[i]
				used[fmt.Sprint(n.purpose, n.scope, n.group, n.resource, n.names, verb)] = true
			}
		}
	}
	s, g, err := operate(t, needed(forRead), "")
	if err != nil || len(g.refused) > 0 {
		t.Fatalf("reading asks for more than the table says: %v, refused %q", err, g.refused)
	}
	if len(s.Gaps) > 0 {
		t.Fatalf("parts could not be read: %v", s.Gaps)
	}
	note(needed(forRead), g)
	for _, strategy := range []rotation.Strategy{rotation.HotBundle, rotation.CrossSign} {
		_, g, err := operate(t, all, strategy)
		if err != nil || len(g.refused) > 0 {
			t.Fatalf("%s asks for more than the table says: %v, refused %q", strategy, err, slices.Compact(g.refused))
		}
		note(all, g)
	}
	for _, n := range all {
		for _, verb := range n.verbs {
			switch n.resource {
			case "pods/portforward", "clustertrustbundles":
				continue // the rehearsal dials by itself, and publishes in ConfigMaps
			}
			if unrehearsed(n, verb) {
				continue
			}
			if !used[fmt.Sprint(n.purpose, n.scope, n.group, n.resource, n.names, verb)] {
				t.Errorf("nothing asks for %s on %s %v in %s: it is not the least", verb, n.resource, n.names, n.scope)
			}
		}
	}
}

// Without one verb, a look says what is missing, and a rotation does not end well.
func TestOneVerbLess(t *testing.T) {
	for i, n := range needed(forRotate) {
		for _, verb := range n.verbs {
			switch n.resource {
			case "pods/portforward", "clustertrustbundles":
				continue
			}
			if unrehearsed(n, verb) {
				continue
			}
			less := needed(forRotate)
			less[i].verbs = slices.DeleteFunc(slices.Clone(n.verbs), func(v string) bool { return v == verb })
			if slices.ContainsFunc(less, func(other permission) bool {
				return other.allows(verb, n.group, n.resource, map[scope]string{atIstiod: istiodNamespace, atNodes: string(atNodes)}[n.scope], append(n.names, "")[0], istiodNamespace)
			}) {
				continue // another row allows it too
			}
			strategy := rotation.Strategy("")
			if n.purpose == forRotate || slices.Contains(n.names, "meshca-rotation") {
				if strategy = rotation.HotBundle; n.resource == "deployments" {
					strategy = rotation.CrossSign
				}
			}
			t.Run(strings.Join([]string{string(n.scope), n.resource, verb}, "-"), func(t *testing.T) {
				s, g, err := operate(t, less, strategy)
				if len(g.refused) == 0 {
					t.Fatal("it was not asked for")
				}
				if n.without != "" {
					return
				}
				said := fmt.Sprint(err)
				if s != nil {
					for _, gap := range s.Gaps {
						said += "\n" + gap.Error
					}
					for _, plane := range s.ControlPlanes {
						said += "\n" + plane.CA.Error
						for _, replica := range plane.Replicas {
							said += "\n" + replica.ServedError + "\n" + replica.SignedError
						}
					}
				}
				if want := fmt.Sprintf("cannot %s resource %q", verb, n.resource); !strings.Contains(said, want) {
					t.Errorf("nothing says %q:\n%s", want, said)
				}
			})
		}
	}
}

// Two kinds of meshes ask for Secrets that no other does: without them it is said what is
// missing, and with what "rbac" adds for them it is not.
func TestPermissionsByMesh(t *testing.T) {
	for _, test := range []struct {
		name    string
		more    permission
		managed bool
		want    string
	}{
		{"citadel", ofCitadel(), false, `cannot list resource "secrets"`},
		{"issuer", ofIssuer("cert-manager", "root"), true, `cannot get resource "secrets"`},
	} {
		for _, more := range [][]permission{nil, {test.more}} {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				root, old := testCA(t, "A")
				var m *rehearsal.Mesh
				var err error
				if test.managed {
					if m, err = rehearsal.New(ctx, tick{}, rehearsal.Spec{CA: old, Source: mesh.CAPluggedTLS, Release: "1.30.3", Replicas: 1, Namespaces: []string{"a"}, Proxies: 1, TTL: time.Hour, Lag: time.Second}); err == nil {
						_, err = m.Manage(root)
					}
				} else {
					m, err = rehearsal.NewCitadel(ctx, tick{}, rehearsal.CitadelSpec{CA: root, Release: "1.4.10", TTL: 90 * 24 * time.Hour, Lag: time.Second, Workloads: []rehearsal.Workload{{Namespace: "a", Name: "app", Proxies: 1}}})
				}
				if err != nil {
					t.Fatal(err)
				}
				g := newGatekeeper(m, append(needed(forRotate), more...))
				g.kube.Resources = m.Kube.Resources
				s, err := (&mesh.Collector{Kube: g.kube, Dynamic: m.Dynamic, Dialer: m, Now: time.Now}).Collect(ctx)
				if err != nil {
					t.Fatal(err)
				}
				said := ""
				for _, gap := range s.Gaps {
					said += gap.Error + "\n"
				}
				for _, c := range s.ManagedCAs {
					said += c.Error + "\n"
				}
				if missing := strings.Contains(said, test.want); missing == (len(more) > 0) {
					t.Errorf("%s with %d permissions more: %q", test.name, len(more), said)
				}
			})
		}
	}
}

// The example of "rbac" binds every role that it prints.
func TestRolesAreBound(t *testing.T) {
	for _, r := range roles(forRead, "istio-system", false) {
		bound := fmt.Sprintf("kubectl -n %s create rolebinding %s --role=%[2]s", r.Metadata.Namespace, r.Metadata.Name)
		if r.Kind == "ClusterRole" {
			bound = fmt.Sprintf("kubectl create clusterrolebinding %s --clusterrole=%[1]s", r.Metadata.Name)
		}
		if !strings.Contains(rbacExample, bound) {
			t.Errorf("nothing says %q", bound)
		}
	}
}
