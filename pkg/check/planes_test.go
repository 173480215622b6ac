package check_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// beside adds a second control plane of a namespace of its own, whose CA is this one.
func (w *world) beside(ca *pki.Authority) *mesh.ControlPlane {
	plane := *w.plane()
	plane.Namespace, plane.Revision = "istio-two", "two"
	plane.CA.Namespace = plane.Namespace
	plane.CA.Cert, plane.CA.Chain, plane.CA.Root = pki.NewBundle(ca.Cert), pki.NewBundle(ca.Cert), ca.Roots
	replica := w.istiod("istiod-two-1", ca)
	replica.Served.Chain[0] = w.leaf(ca, "", clock().Add(-day), 600*day, "istiod.istio-two.svc")
	plane.Replicas, plane.Desired, plane.Updated = []mesh.Istiod{replica}, 1, 1
	w.s.ControlPlanes = append(w.s.ControlPlanes, plane)
	w.s.Namespaces = append(w.s.Namespaces, mesh.Namespace{Name: "istio-two", Trust: &mesh.TrustAnchor{Name: "istio-ca-root-cert", Bundle: pki.NewBundle(w.root.Cert)}})
	return &w.s.ControlPlanes[1]
}

// blockers are what keeps a mesh from being proven, by what is to be true of it now.
func (w *world) blockers() []rotation.Blocker {
	w.t.Helper()
	expect, ok := rotation.Present(w.s)
	if !ok {
		w.t.Fatal("no roots")
	}
	return expect.Judge(w.s, nil).Blockers
}

// errorsOf are the faults that a mesh in good order has none of.
func errorsOf(r check.Report) (all []check.Finding) {
	for _, f := range r.Findings {
		if f.Severity == pki.SeverityError {
			all = append(all, f)
		}
	}
	return all
}

// Revisions with an intermediate each under one root are a mesh in good order: a replica
// is held against its own control plane's CA, and compared with those of the same.
func TestControlPlanesWithIntermediatesOfTheirOwn(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*world, *mesh.ControlPlane)
		wrong  string // the finding, where it is no good order
	}{
		"each its own": {},
		"one of istio-csr": {change: func(_ *world, plane *mesh.ControlPlane) {
			plane.CA, plane.Flags.CAServer = mesh.CASource{Kind: mesh.CAIstioCSR, Why: "ENABLE_CA_SERVER=false"}, false
		}},
		"Secrets were not read": {change: func(w *world, _ *mesh.ControlPlane) {
			for i := range w.s.ControlPlanes {
				plane := &w.s.ControlPlanes[i]
				plane.CA = mesh.CASource{Kind: mesh.CAUnknown, Namespace: plane.Namespace, Secret: "cacerts"}
			}
		}},
		"one signs with the other's": {change: func(w *world, plane *mesh.ControlPlane) {
			plane.Replicas[0].Served.Chain = w.plane().Replicas[0].Served.Chain
		}, wrong: "istiod"},
		"one is below another root": {change: func(w *world, plane *mesh.ControlPlane) {
			plane.CA.Cert, plane.CA.Chain, plane.CA.Root = pki.NewBundle(w.next.Cert), pki.NewBundle(w.next.Cert), pki.NewBundle(w.other.Cert)
			plane.Replicas[0] = w.istiod("istiod-two-1", w.next)
		}, wrong: "istiod"},
		"replicas of one CA sign apart": {change: func(w *world, plane *mesh.ControlPlane) {
			plane.CA = mesh.CASource{Kind: mesh.CAUnknown, Namespace: plane.Namespace, Secret: "cacerts"}
			plane.Replicas = append(plane.Replicas, w.istiod("istiod-two-2", w.ca))
		}, wrong: "replicas-sign-apart"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			plane := w.beside(below(t, w.root, "intermediate A2", 700*day))
			if row.change != nil {
				row.change(w, plane)
			}
			found := w.run()
			switch {
			case row.wrong != "" && !has(found.Findings, row.wrong, pki.SeverityError):
				t.Errorf("nothing of %s: %+v", row.wrong, errorsOf(found))
			case row.wrong == "istiod" && len(w.blockers()) == 0:
				t.Error("it is proven")
			case row.wrong == "" && len(errorsOf(found)) > 0:
				t.Errorf("%+v", errorsOf(found))
			case row.wrong == "" && len(w.blockers()) > 0:
				t.Errorf("not proven: %v", w.blockers())
			}
		})
	}
}

// A rotation's gate asks every replica for its own signer, whatever CA a control plane
// was read to have.
func TestGateHoldsReplicasOfAllControlPlanes(t *testing.T) {
	w := newWorld(t)
	w.beside(below(t, w.root, "intermediate A2", 700*day))
	gate := rotation.Expectation{Signer: w.ca.Cert, Roots: []*pki.Certificate{w.root.Cert}}
	status := gate.Judge(w.s, nil)
	if status.Replicas.Ready != 2 || status.Replicas.Of != 3 || status.Open() {
		t.Errorf("%+v", status)
	}
}

// elsewhere makes the cluster one whose istiod is in another: what is here stays.
func (w *world) elsewhere(why string) {
	w.s.ControlPlanes = []mesh.ControlPlane{{Namespace: "istio-system", Name: "managed", Settled: true, Elsewhere: why,
		CA: mesh.CASource{Kind: mesh.CAUnsupported, Why: "x"}, Flags: mesh.Flags{CAServer: true, TrustConfigMap: "istio-ca-root-cert"}}}
	w.s.Webhooks[0].Revision = "default"
	for i := range w.s.Proxies {
		p := &w.s.Proxies[i]
		p.Revision = "default"
		p.Reach, p.ReachWhy = mesh.ReachOf(*p, w.s.ControlPlanes)
	}
}

// Where the control plane is of another cluster what is here can be proven, and that its
// istiod was not asked is said; where nothing shows that it is, nothing is proven.
func TestControlPlaneOfAnotherCluster(t *testing.T) {
	w := newWorld(t)
	w.elsewhere("the service istio-system/istiod leads out of this cluster")
	found := w.run()
	if all := errorsOf(found); len(all) > 0 {
		t.Errorf("%+v", all)
	}
	if has(found.Findings, "webhook-orphaned", pki.SeverityWarning) {
		t.Error("its webhooks are called orphans")
	}
	if b := w.blockers(); len(b) > 0 {
		t.Errorf("not proven: %v", b)
	}
	if unseen := check.NotSeen(w.s); len(unseen) != 1 || unseen[0].Error != w.plane().Elsewhere {
		t.Errorf("not seen: %+v", unseen)
	}
	// What is here is asked for all the same.
	w.s.Webhooks[0].CABundle = pki.NewBundle(w.other.Cert)
	w.s.Namespaces[0].Trust.Bundle = pki.NewBundle(w.other.Cert)
	w.load(&w.s.Proxies[0], w.next, clock().Add(-1), day, w.other.Cert)
	if b := w.blockers(); len(b) != 3 {
		t.Errorf("%v", b)
	}
	// By URL alone nothing names its namespace.
	w = newWorld(t)
	w.elsewhere("a webhook is called by URL")
	w.plane().Namespace = ""
	if b := w.blockers(); len(b) > 0 {
		t.Errorf("without its namespace: %v", b)
	}
	// A gate is for istiods that can be seen.
	roots := []*pki.Certificate{w.root.Cert}
	if status := (rotation.Expectation{Roots: roots, Trusted: roots, Accepted: roots}).Judge(w.s, nil); status.Open() {
		t.Error("a rotation's gate opens without an istiod")
	}
	w = newWorld(t)
	w.elsewhere("")
	if b := w.blockers(); len(b) != 1 || b[0].Object != "none" {
		t.Errorf("it is proven without an istiod: %v", b)
	}
	if found := w.run(); !has(found.Findings, "no-istiod", pki.SeverityError) {
		t.Errorf("nobody misses its istiod: %+v", found.Findings)
	}
}

// What an istiod serves that has a serving certificate of its own says nothing of what it
// signs with: its answer to a request alone does, and nothing is concluded without.
func TestServingCertificateOfItsOwn(t *testing.T) {
	w := newWorld(t)
	w.plane().OwnTLS = "the Secret istio-system/istiod-tls"
	serve := func(ca *pki.Authority) {
		for i := range w.plane().Replicas {
			w.plane().Replicas[i].Served = w.istiod("", ca).Served
		}
	}
	serve(below(t, w.root, "cert-manager", 300*day)) // under the mesh's root, and not what signs
	found := w.run()
	if all := errorsOf(found); len(all) > 0 {
		t.Errorf("%+v", all)
	}
	if !has(found.Findings, "own-serving-certificate", pki.SeverityWarning) {
		t.Errorf("nothing says what it serves: %+v", found.Findings)
	}
	for _, b := range w.blockers() {
		if b.Kind != "istiod" || !b.Unknown {
			t.Errorf("%v", b)
		}
	}
	// One that looks as if the CA had made it proves no more.
	serve(w.ca)
	if b := w.blockers(); len(b) != 2 || !b[0].Unknown {
		t.Errorf("it is proven by what it serves: %v", b)
	}
	for i := range w.plane().Replicas {
		w.plane().Replicas[i].Signed = w.signed(w.ca, w.root.Cert)
	}
	if b := w.blockers(); len(b) > 0 {
		t.Errorf("not proven by its answers: %v", b)
	}
	if found := w.run(); len(errorsOf(found)) > 0 || has(found.Findings, "own-serving-certificate", pki.SeverityWarning) {
		t.Errorf("%+v", found.Findings)
	}
	// What agents would refuse is in the way, whoever has made it.
	w.plane().Replicas[0].Signed, w.plane().Replicas[0].Served = nil, w.istiod("", w.next).Served
	if b := w.blockers(); len(b) != 1 || b[0].Unknown {
		t.Errorf("%v", b)
	}
	// Nor is it the next best evidence where no request may be made.
	w.plane().Replicas[0] = w.istiod("istiod-1", w.ca)
	w.plane().Replicas[0].ProofForbidden, w.plane().Replicas[0].SignedError = true, "forbidden"
	expect, _ := rotation.Present(w.s)
	expect.CSRProof = true
	if b := expect.Judge(w.s, nil).Blockers; len(b) != 1 || !b[0].Unknown {
		t.Errorf("%v", b)
	}
}

// istio-csr may be told which namespaces to serve (its configmapNamespaceSelector): of a
// ConfigMap only those are in want that take part. Nor can an istiod without a CA answer a
// certificate request: what it serves is judged by the roots.
func TestNamespacesThatIstioCSRLeavesOut(t *testing.T) {
	w := newWorld(t)
	w.plane().CA, w.plane().Flags.CAServer = mesh.CASource{Kind: mesh.CAIstioCSR, Why: "ENABLE_CA_SERVER=false"}, false
	w.s.Namespaces = append(w.s.Namespaces, mesh.Namespace{Name: "monitoring"})
	for i := range w.plane().Replicas {
		w.plane().Replicas[i].SignedError = "rpc error: code = Unimplemented"
	}
	policy := check.DefaultPolicy()
	policy.CSRProof = true
	if all := errorsOf(check.Run(w.s, policy)); len(all) > 0 {
		t.Errorf("%+v", all)
	}
	expect, _ := rotation.Present(w.s)
	expect.CSRProof = true
	status := expect.Judge(w.s, nil)
	if !status.Open() || !strings.Contains(status.Evidence, "signs nothing") {
		t.Errorf("%v, by %q", status.Blockers, status.Evidence)
	}
	for name, take := range map[string]func(*mesh.Namespace){
		"injection": func(n *mesh.Namespace) { n.Revision = "default" },
		"ambient":   func(n *mesh.Namespace) { n.Ambient = true },
		"a proxy": func(*mesh.Namespace) {
			w.s.Proxies = append(w.s.Proxies, w.proxy("monitoring", "p", w.ca, w.root.Cert))
		},
	} {
		n := &w.s.Namespaces[len(w.s.Namespaces)-1]
		before, proxies := *n, w.s.Proxies
		take(n)
		if b := w.blockers(); len(b) != 1 || b[0].Object != "monitoring/istio-ca-root-cert" || !b[0].Unknown {
			t.Errorf("%s: %v", name, b)
		}
		if found := w.run(); !has(found.Findings, "configmap-unknown", pki.SeverityError) {
			t.Errorf("%s: nothing is found", name)
		}
		*n, w.s.Proxies = before, proxies
	}
	// What is there holds the roots, whoever has need of it.
	w.s.Namespaces[len(w.s.Namespaces)-1].Trust = &mesh.TrustAnchor{Name: "istio-ca-root-cert", Bundle: pki.NewBundle(w.other.Cert)}
	if b := w.blockers(); len(b) != 1 || b[0].Unknown {
		t.Errorf("%v", b)
	}
	// Where any istiod has a CA it writes to all namespaces.
	w = newWorld(t)
	plane := w.beside(w.ca)
	plane.CA, plane.Flags.CAServer = mesh.CASource{Kind: mesh.CAIstioCSR, Why: "ENABLE_CA_SERVER=false"}, false
	w.s.Namespaces = append(w.s.Namespaces, mesh.Namespace{Name: "monitoring"})
	if b := w.blockers(); len(b) != 1 || b[0].Object != "monitoring/istio-ca-root-cert" {
		t.Errorf("%v", b)
	}
	// An istiod with a CA owes its answer.
	expect, _ = rotation.Present(w.s)
	expect.CSRProof = true
	if status := expect.Judge(w.s, nil); status.Replicas.Ready != 1 || status.Replicas.Of != 3 {
		t.Errorf("%+v", status.Replicas)
	}
}

// workloads has all proxies get their certificates from another CA than istiod's.
func (w *world) workloads(kind mesh.CAKind, ca *pki.Authority, roots ...*pki.Certificate) {
	w.plane().CA = mesh.CASource{Kind: kind, Why: "test"}
	for i := range w.s.Proxies {
		w.load(&w.s.Proxies[i], ca, clock().Add(-time.Hour), day, roots...)
		w.s.Proxies[i].Reach = mesh.ReachElsewhere
	}
}

// Where workloads are signed elsewhere they may be under another root than istiod: what it
// serves and publishes is held against its own, and proxies against what most of them trust.
func TestWorkloadsUnderAnotherRoot(t *testing.T) {
	type change = func(*world)
	one := func(ca func(*world) *pki.Authority, roots func(*world) []*pki.Certificate) change {
		return func(w *world) {
			w.load(&w.s.Proxies[0], ca(w), clock().Add(-time.Hour), day, roots(w)...)
		}
	}
	ours := func(w *world) []*pki.Certificate { return []*pki.Certificate{w.root.Cert} }
	theirs := func(w *world) []*pki.Certificate { return []*pki.Certificate{w.other.Cert} }
	both := func(w *world) []*pki.Certificate { return []*pki.Certificate{w.root.Cert, w.other.Cert} }
	for name, row := range map[string]struct {
		change change
		wrong  string // what keeps it from being proven: a kind
	}{
		"all of theirs":                      {},
		"a proxy under istiod's own":         {one(func(w *world) *pki.Authority { return w.ca }, ours), "proxy"},
		"a proxy that trusts istiod's too":   {one(func(w *world) *pki.Authority { return w.next }, both), "proxy"},
		"a proxy of which they trust none":   {one(func(w *world) *pki.Authority { return w.ca }, theirs), "proxy"},
		"a proxy that could not be read":     {func(w *world) { w.s.Proxies[0].Loaded, w.s.Proxies[0].Error = nil, "no route" }, "proxy"},
		"a ConfigMap with theirs":            {func(w *world) { w.s.Namespaces[0].Trust.Bundle = pki.NewBundle(w.other.Cert) }, "configmap"},
		"a webhook with theirs":              {func(w *world) { w.s.Webhooks[0].CABundle = pki.NewBundle(w.other.Cert) }, "webhook"},
		"an istiod that serves below theirs": {func(w *world) { w.plane().Replicas[0].Served = w.istiod("", w.next).Served }, "istiod"},
		"a root of meshConfig besides": {func(w *world) {
			w.s.MeshCACertificates = []*pki.Certificate{w.root.Cert}
			one(func(w *world) *pki.Authority { return w.next }, both)(w)
		}, ""},
	} {
		for _, kind := range []mesh.CAKind{mesh.CARA, mesh.CASPIRE} {
			w := newWorld(t)
			w.workloads(kind, w.next, w.other.Cert)
			if row.change != nil {
				row.change(w)
			}
			b := w.blockers()
			switch {
			case row.wrong == "" && len(b) > 0:
				t.Errorf("%s, %s: %v", name, kind, b)
			case row.wrong != "" && (len(b) != 1 || b[0].Kind != row.wrong):
				t.Errorf("%s, %s: not one %s: %v", name, kind, row.wrong, b)
			}
			if found := w.run(); row.wrong == "" && len(errorsOf(found)) > 0 {
				t.Errorf("%s, %s: %+v", name, kind, errorsOf(found))
			}
		}
	}
	// Two signers, with all roots in meshConfig.caCertificates.
	w := newWorld(t)
	w.workloads(mesh.CARA, w.next, w.root.Cert, w.other.Cert)
	w.s.MeshCACertificates = both(w)
	w.load(&w.s.Proxies[0], w.ca, clock().Add(-time.Hour), day, both(w)...)
	if b := w.blockers(); len(b) > 0 {
		t.Errorf("two signers: %v", b)
	}
	// What a registration authority answers is the workloads'.
	w = newWorld(t)
	w.workloads(mesh.CARA, w.next, w.other.Cert)
	w.plane().Replicas[0].Signed = w.signed(w.next, w.other.Cert)
	w.plane().Replicas[1].Signed = w.signed(w.next, w.other.Cert)
	if b := w.blockers(); len(b) > 0 {
		t.Errorf("its answers: %v", b)
	}
	w.plane().Replicas[0].Signed = w.signed(w.ca, w.root.Cert)
	w.plane().Replicas[1].Signed = w.signed(w.next, w.other.Cert, w.root.Cert)
	if b := w.blockers(); len(b) != 2 {
		t.Errorf("its answers under another root: %v", b)
	}
	// An istiod that signs for workloads itself has no second list.
	for _, kind := range []mesh.CAKind{mesh.CAPlugged, mesh.CAUnknown, mesh.CAIstioCSR} {
		w := newWorld(t)
		ca := w.plane().CA
		w.workloads(kind, w.next, w.other.Cert)
		if kind == mesh.CAPlugged {
			w.plane().CA = ca
		}
		if b := w.blockers(); len(b) != len(w.s.Proxies) {
			t.Errorf("%s: %v", kind, b)
		}
	}
}

// The base chart makes a webhook of the revision "default", also where istiods are of others
// alone: nobody ever writes roots into it, and no gate waits for that. One of an istiod that
// is there is written, and waited for; so is one whose caBundle says something.
func TestWebhookThatNobodyWrites(t *testing.T) {
	blank := mesh.Webhook{Config: "istiod-default-validator", Name: "v", Revision: "other", Service: "istio-system/istiod", Blank: true, Error: "caBundle: no certificate in it"}
	for name, test := range map[string]struct {
		change func(*mesh.Webhook)
		waits  bool
	}{
		"of a revision that was never there": {func(*mesh.Webhook) {}, false},
		"of one that runs":                   {func(w *mesh.Webhook) { w.Revision = "default" }, true},
		"of none":                            {func(w *mesh.Webhook) { w.Revision = "" }, true},
		"that says something":                {func(w *mesh.Webhook) { w.Blank = false }, true},
	} {
		w := newWorld(t)
		hook := blank
		test.change(&hook)
		w.s.Webhooks = append(w.s.Webhooks, hook)
		if b := w.blockers(); len(b) > 0 != test.waits {
			t.Errorf("%s: %v", name, b)
		}
	}
}

// Discovery selectors may leave istiod's own namespace out: what it publishes stands in the
// others, also where the CA Secret may not be read.
func TestNamespaceOfIstiodThatItDoesNotServe(t *testing.T) {
	w := newWorld(t)
	w.s.Namespaces = slices.DeleteFunc(w.s.Namespaces, func(n mesh.Namespace) bool { return n.Name == "istio-system" })
	if b := w.blockers(); len(b) > 0 {
		t.Errorf("%v", b)
	}
	w.plane().CA = mesh.CASource{Kind: mesh.CAUnknown, Why: "Secrets were not to be read", Namespace: "istio-system", Secret: "cacerts"}
	if b := w.blockers(); len(b) > 0 {
		t.Errorf("without the Secret: %v", b)
	}
	w.s.Namespaces[0].Trust.Bundle = pki.NewBundle(w.other.Cert)
	w.s.Namespaces = append(w.s.Namespaces, mesh.Namespace{Name: "c", Trust: &mesh.TrustAnchor{Name: "istio-ca-root-cert", Bundle: pki.NewBundle(w.root.Cert)}})
	if b := w.blockers(); len(b) != 1 || b[0].Object != "a/istio-ca-root-cert" {
		t.Errorf("one that is not as the others: %v", b)
	}
}

// A proxy that is connected to none of the istiods asked may be to one that was left out.
func TestClientsOfARevisionThatIsLeftOut(t *testing.T) {
	w := newWorld(t)
	w.plane().Replicas[1].Clients = []proxy.Client{}
	lost := func() bool { return has(w.run().Findings, "proxy-disconnected", pki.SeverityWarning) }
	if !lost() {
		t.Error("nobody is missed")
	}
	w.s.LeftOut = []string{"istio-system/istiod-canary"}
	if lost() {
		t.Error("who may be another revision's is called lost")
	}
	if found := w.run(); !has(found.Findings, "connections-unknown", pki.SeverityInfo) || slices.Contains(found.Passed, "proxies-connected") {
		t.Errorf("nothing says that it is not known: %+v", found.Findings)
	}
	w.plane().Replicas[0].Clients[0].Behind = []string{"clusters"}
	if !has(w.run().Findings, "proxy-behind", pki.SeverityWarning) {
		t.Error("who is behind is not named beside it")
	}
}

// One entry that cannot be read says nothing of the others: who is named in it is not
// called lost, and where nobody is it may be anybody who is missed.
func TestClientsThatCannotBeRead(t *testing.T) {
	found := func(unread proxy.Client) []check.Finding {
		w := newWorld(t)
		clients := w.plane().Replicas[1].Clients
		unread.Proxy = strings.Replace(unread.Proxy, "FIRST", clients[0].Proxy, 1)
		clients[0] = unread
		return w.run().Findings
	}
	for name, row := range map[string]struct {
		unread proxy.Client
		says   []string
	}{
		"named":  {proxy.Client{Proxy: "FIRST", Unread: "entry 1"}, []string{"proxy b/p1 connected, and what it has acknowledged cannot be read: entry 1"}},
		"nobody": {proxy.Client{Unread: "entry 1"}, []string{"who one of its clients is cannot be read: entry 1", "not among the clients of istiods that could be read"}},
	} {
		t.Run(name, func(t *testing.T) {
			var said []string
			for _, f := range found(row.unread) {
				switch f.ID {
				case "proxy-disconnected":
					t.Errorf("called lost: %+v", f)
				case "connections-unknown":
					said = append(said, f.Object+" "+f.Message)
				}
			}
			if len(said) != len(row.says) {
				t.Fatalf("%q", said)
			}
			for i, want := range row.says {
				if !strings.Contains(said[i], want) {
					t.Errorf("%q, want %q", said[i], want)
				}
			}
		})
	}
}
