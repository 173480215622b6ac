package rotation_test

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// A proxy of which one live context still uses another leaf than the rest keeps
// the gate closed: with that leaf it would be refused once the old root is gone.
func TestOneContextBehindIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s := wholeMesh(t, b)
		expect, _ := rotation.Present(s)
		if status := expect.Judge(s, nil); !status.Open() {
			t.Fatalf("a whole mesh is not proven: %v", status.Blockers)
		}
		p := &s.Proxies[0]
		p.Loaded.Contexts = append(p.Loaded.Contexts, proxy.Context{SPIFFE: p.Loaded.Identities[0].SPIFFE, LeafSerial: "beef"})
		status := expect.Judge(s, nil)
		if status.Open() || status.Blockers[0].Object != p.Ref() || !strings.Contains(status.Blockers[0].Why, "beef") {
			t.Errorf("it passes: %v", status.Blockers)
		}
	})
}

// Who judges by trust domain trusts a root for the mesh's own where its bundle has it,
// and not where that of another does.
func TestRootsOfAnotherTrustDomainAreNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s := wholeMesh(t, b)
		expect, _ := rotation.Present(s)
		_, other := ca(t, "of another trust domain")
		i := &s.Proxies[0].Loaded.Identities[0]
		roots, foreign := i.Roots, other.Roots.Certs
		domain := pki.DomainOf(i.SPIFFE)
		i.Roots = append(roots[:len(roots):len(roots)], foreign...)
		i.Domains = []pki.Domain{{Name: domain, Roots: roots}, {Name: "west.local", Roots: foreign}}
		if status := expect.Judge(s, nil); !status.Open() {
			t.Errorf("a federated proxy is not proven: %v", status.Blockers)
		}
		for why, domains := range map[string][]pki.Domain{
			"for the trust domain " + domain: {{Name: domain, Roots: foreign}, {Name: "west.local", Roots: roots}},
			"still trusts other":             {{Name: domain, Roots: i.Roots}},
		} {
			i.Domains = domains
			if status := expect.Judge(s, nil); status.Open() || !strings.Contains(status.Blockers[0].Why, why) {
				t.Errorf("%s: %v", why, status.Blockers)
			}
		}
		i.Domains = []pki.Domain{{Name: "west.local", Roots: i.Roots}}
		if expect.Judge(s, nil).Open() {
			t.Error("it trusts nobody of its own trust domain, and passes")
		}
	})
}

// wholeMesh is a bench's mesh as verify sees it, before anything is changed.
func wholeMesh(t *testing.T, b *bench) *mesh.Snapshot {
	t.Helper()
	s, err := b.collector().Collect(b.ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.Gaps = nil
	b.prober.Probe(b.ctx, s, b.old.Roots.Certs)
	if _, ok := rotation.Present(s); !ok {
		t.Fatal("no roots")
	}
	return s
}

// Where the CA Secret may not be read nobody knows the signer by name: an istiod that
// signs below another root is seen all the same, by what it serves and by what it
// answers to a request.
func TestIstiodOfAnotherCAWithoutTheSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s := wholeMesh(t, b)
		for i := range s.ControlPlanes {
			plane := &s.ControlPlanes[i]
			plane.CA = mesh.CASource{Kind: mesh.CAUnknown, Namespace: plane.Namespace, Secret: "cacerts", Error: "forbidden"}
		}
		expect, ok := rotation.Present(s)
		if !ok || expect.Signer != nil {
			t.Fatalf("roots %t, signer %v", ok, expect.Signer)
		}
		if status := expect.Judge(s, nil); !status.Open() {
			t.Fatalf("a whole mesh is not proven: %v", status.Blockers)
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		_, other := ca(t, "of nobody here")
		leaf, err := other.IssueLeaf(pki.LeafRequest{DNSNames: []string{"istiod.istio-system.svc"}, Public: &key.PublicKey, Now: s.TakenAt, Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		chain := []*pki.Certificate{leaf, other.Cert}
		// One that the mesh's own CA has signed after the look began is as good as any.
		young, err := b.old.IssueLeaf(pki.LeafRequest{SPIFFE: "spiffe://cluster.local/ns/istio-system/sa/meshca-probe", Public: &key.PublicKey, Now: s.TakenAt.Add(10 * time.Minute), Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		s.ControlPlanes[0].Replicas[0].Signed = &proxy.Signed{At: s.TakenAt, Chain: []*pki.Certificate{young, b.old.Cert}, Roots: expect.Roots}
		if status := expect.Judge(s, nil); !status.Open() {
			t.Errorf("a new certificate is not proven: %v", status.Blockers)
		}
		replica := &s.ControlPlanes[0].Replicas[0]
		served, signed := replica.Served, &proxy.Signed{At: s.TakenAt, Chain: chain, Roots: expect.Roots}
		for name, set := range map[string]func(){
			"served": func() { replica.Served, replica.Signed = &proxy.Served{At: s.TakenAt, Chain: chain}, nil },
			"signed": func() { replica.Served, replica.Signed = served, signed },
		} {
			set()
			status := expect.Judge(s, nil)
			if status.Open() || status.Blockers[0].Kind != "istiod" || status.Replicas.Ready != status.Replicas.Of-1 {
				t.Errorf("%s: it passes: %+v", name, status.Blockers)
			}
		}
	})
}

// A ztunnel on a node without pods of the mesh holds nothing, and so nothing old; an
// Envoy without a certificate is not understood.
func TestZtunnelThatServesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s := wholeMesh(t, b)
		expect, _ := rotation.Present(s)
		p := &s.Proxies[0]
		p.Kind, p.Loaded = mesh.Ztunnel, &proxy.Loaded{Evidence: proxy.EvidenceZtunnelDump}
		if status := expect.Judge(s, nil); !status.Open() || status.Proxies.Ready != len(s.Proxies) {
			t.Errorf("a ztunnel that serves nobody is in the way: %v", status.Blockers)
		}
		p.Kind = mesh.Sidecar
		if status := expect.Judge(s, nil); status.Open() || !status.Blockers[0].Unknown {
			t.Errorf("an Envoy without a certificate passes: %v", status.Blockers)
		}
	})
}

// An agent whose file of roots is of where istiods do not publish them any more cannot
// follow, whatever its Envoy has loaded: it must be made anew.
func TestAgentThatReadsRootsOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s := wholeMesh(t, b)
		for name, row := range map[string]struct {
			from   string
			bundle bool   // istiods write a ClusterTrustBundle
			name   string // of the ConfigMap that they write
			closed bool
		}{
			"the ConfigMap":                            {from: "istio-ca-root-cert"},
			"nothing says":                             {bundle: true},
			"the ConfigMap, and now a bundle":          {from: "istio-ca-root-cert", bundle: true, closed: true},
			"a bundle":                                 {from: mesh.TrustBundleName, bundle: true},
			"a bundle, and now the ConfigMap":          {from: mesh.TrustBundleName, closed: true},
			"the ConfigMap, and now one of other name": {from: "istio-ca-root-cert", name: "team-roots", closed: true},
			"of other name":                            {from: "team-roots", name: "team-roots"},
			"somebody's own":                           {from: "trust-manager"},
		} {
			plane := &s.ControlPlanes[0]
			plane.Flags.TrustConfigMap, plane.Flags.ClusterTrustBundle = cmp.Or(row.name, mesh.DefaultTrustConfigMap), row.bundle
			s.Proxies[0].RootsFrom = row.from
			expect, _ := rotation.Present(s)
			status := expect.Judge(s, nil)
			if status.Open() == row.closed || row.closed && (status.Blockers[0].Object != s.Proxies[0].Ref() || status.Blockers[0].Unknown) {
				t.Errorf("%s: %v", name, status.Blockers)
			}
		}
	})
}

// present judges a whole mesh by what should be true of it.
func present(t *testing.T, judge func(*testing.T, *bench, *mesh.Snapshot, rotation.Expectation)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s := wholeMesh(t, b)
		expect, _ := rotation.Present(s)
		judge(t, b, s, expect)
	})
}

// Istiods before 1.11 have left trust ConfigMaps in namespaces that none writes into since.
func TestConfigMapsThatWereLeft(t *testing.T) {
	present(t, func(t *testing.T, b *bench, s *mesh.Snapshot, expect rotation.Expectation) {
		left := &mesh.TrustAnchor{Name: mesh.DefaultTrustConfigMap, Bundle: b.new.Roots}
		for _, test := range []struct {
			namespace mesh.Namespace
			istiod    string
			open      bool
		}{
			{mesh.Namespace{Name: "kube-public"}, "1.30.3", true},
			{mesh.Namespace{Name: "kube-node-lease"}, "1.30.3", true},
			{mesh.Namespace{Name: "kube-public", Revision: "default"}, "1.30.3", false},
			{mesh.Namespace{Name: "kube-system"}, "1.20.8", true},
			{mesh.Namespace{Name: "kube-system"}, "1.30.3", false}, // it writes there again
			{mesh.Namespace{Name: "shop"}, "1.30.3", false},
		} {
			mixed := *s
			test.namespace.Trust = left
			mixed.Namespaces = append(slices.Clone(s.Namespaces), test.namespace)
			mixed.ControlPlanes = slices.Clone(s.ControlPlanes)
			mixed.ControlPlanes[0].Version = test.istiod
			if status := expect.Judge(&mixed, nil); status.Open() != test.open {
				t.Errorf("%s under istiod %s: open %t: %v", test.namespace.Name, test.istiod, status.Open(), status.Blockers)
			}
		}
	})
}

// An istiod that serves some namespaces alone publishes nothing in the others.
func TestNamespacesThatIstiodDoesNotServe(t *testing.T) {
	present(t, func(t *testing.T, _ *bench, s *mesh.Snapshot, expect rotation.Expectation) {
		s.Namespaces = append(s.Namespaces, mesh.Namespace{Name: "elsewhere"})
		if expect.Judge(s, nil).Open() {
			t.Error("an istiod of all namespaces has left one out, and it passes")
		}
		s.ControlPlanes[0].Flags.SomeNamespaces = true
		if status := expect.Judge(s, nil); !status.Open() {
			t.Errorf("it is in the way: %v", status.Blockers)
		}
		s.Namespaces[len(s.Namespaces)-1].Revision = "default"
		if expect.Judge(s, nil).Open() {
			t.Error("a namespace of the mesh has no trust ConfigMap, and it passes")
		}
	})
}

// What its agent knows istiod by is nothing that a proxy has loaded.
func TestRootsOfAnAgentsOwn(t *testing.T) {
	present(t, func(t *testing.T, _ *bench, s *mesh.Snapshot, expect rotation.Expectation) {
		p := &s.Proxies[0]
		p.OwnRoots = "/etc/ssl/corp.pem"
		if status := expect.Judge(s, nil); len(status.Blockers) != 1 || !status.Blockers[0].Acceptable() || !strings.Contains(status.Blockers[0].String(), p.Ref()+": its agent knows istiod by the roots in /etc/ssl/corp.pem") {
			t.Errorf("%v", status.Blockers)
		}
		p.Reach = mesh.ReachElsewhere // no istiod's certificate is asked for
		if status := expect.Judge(s, nil); !status.Open() {
			t.Errorf("%v", status.Blockers)
		}
	})
}

// A machine that no entry names is none that could be passed over.
func TestStrangerIsInTheWay(t *testing.T) {
	present(t, func(t *testing.T, _ *bench, s *mesh.Snapshot, expect rotation.Expectation) {
		s.VMs = []mesh.VM{{Namespace: "vms", Name: "legacy", Connected: true, Unregistered: true}}
		if status := expect.Judge(s, nil); len(status.Blockers) != 1 || !status.Blockers[0].Acceptable() || !strings.Contains(status.Blockers[0].String(), "neither a pod nor a WorkloadEntry has its name") {
			t.Errorf("%v", status.Blockers)
		}
	})
}

// A leaf that comes without what vouches for it there is refused by those who trust what is
// in force, though the roots that come next take it.
func TestLeafHoldsUnderWhatIsInForce(t *testing.T) {
	present(t, func(t *testing.T, b *bench, s *mesh.Snapshot, expect rotation.Expectation) {
		expect.InForce = expect.Accepted
		if status := expect.Judge(s, nil); !status.Open() {
			t.Errorf("%v", status.Blockers)
		}
		expect.InForce = b.new.Roots.Certs
		status := expect.Judge(s, nil)
		if len(status.Blockers) != len(s.Proxies) || !strings.Contains(status.Blockers[0].String(), s.Proxies[0].Ref()+": its certificate would not be accepted: ") {
			t.Errorf("%v", status.Blockers)
		}
	})
}

// What stands in a namespace that is being deleted stays as it is: istiod passes it over,
// and where something holds up the deletion no gate would ever open.
func TestNamespaceThatIsBeingDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		s := wholeMesh(t, b)
		expect, _ := rotation.Present(s)
		n := &s.Namespaces[0]
		n.Trust = &mesh.TrustAnchor{Name: n.Trust.Name, Bundle: b.new.Roots}
		before := expect.Judge(s, nil)
		if before.Open() {
			t.Error("a ConfigMap with another root passes")
		}
		n.Terminating = true
		if status := expect.Judge(s, nil); !status.Open() || status.ConfigMaps.Of != before.ConfigMaps.Of-1 {
			t.Errorf("it is in the way: %v, %v", status.Blockers, status.ConfigMaps)
		}
	})
}
