package rotation_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8stesting "k8s.io/client-go/testing"
)

// spoiler changes what is seen of b/app-1.
type spoiler struct {
	*bench
	mu    sync.Mutex // a timer may change it while somebody looks
	spoil func(*mesh.Proxy)
}

func (o *spoiler) become(spoil func(*mesh.Proxy)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spoil = spoil
}

func (o *spoiler) Observe(ctx context.Context, what rotation.Observation) (*mesh.Snapshot, error) {
	s, err := o.bench.Observe(ctx, what)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range s.Proxies {
		if s.Proxies[i].Ref() == "b/app-1" && what.Proxies {
			o.spoil(&s.Proxies[i])
		}
	}
	return s, nil
}

func unread(p *mesh.Proxy) { p.Loaded, p.Error = nil, "dial: refused" }

func without(p *mesh.Proxy) { p.Loaded = &proxy.Loaded{} }

// What was accepted was one fact. Another one about the same object keeps a later gate
// closed until it is accepted too: on the command line by the next run, in a session by
// a word more. Nothing is opened silently.
func TestAcceptedIsOneFact(t *testing.T) {
	for name, row := range map[string]struct {
		later  func(*mesh.Proxy)
		again  bool // it is accepted once more while the gate waits
		closed bool
	}{
		"the same":                   {later: unread},
		"the same in other words":    {later: func(p *mesh.Proxy) { p.Loaded, p.Error = nil, "i/o timeout" }},
		"another":                    {later: without, closed: true},
		"another, and accepted anew": {later: without, again: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				o := &spoiler{bench: b, spoil: unread}
				orders := make(chan rotation.Command, 1)
				b.engine.Observer, b.engine.Accept, b.engine.Timeout, b.engine.Commands = o, map[string]string{"b/app-1": "it is seen elsewhere"}, 5*time.Minute, orders
				said, ordered := 0, false
				b.engine.Emit = func(e rotation.Event) {
					b.events = append(b.events, e)
					switch {
					case e.Kind == rotation.EventPassed && e.Gate.Proxies.Of > 0 && !e.Gate.Listed:
						if strings.Contains(e.Message, "b/app-1") {
							said++
						} else {
							t.Errorf("it opens silently: %s", e.Message)
						}
						if e.Phase == rotation.TrustNew {
							o.become(row.later)
						}
					case e.Kind == rotation.EventGate && strings.Contains(e.Message, "b/app-1") && row.again && !ordered:
						ordered = true
						orders <- rotation.Command{Kind: rotation.CommandAccept, Object: "b/app-1", Reason: "that too"}
					}
				}
				err := b.run()
				var gate *rotation.GateError
				switch {
				case !row.closed && err != nil:
					t.Errorf("it ends with %v", err)
				case row.closed && (!errors.As(err, &gate) || !strings.Contains(err.Error(), "b/app-1") || !strings.Contains(err.Error(), "accepted")):
					t.Errorf("it ends with %v", err)
				}
				if said == 0 || row.again != ordered {
					t.Errorf("said %d times, ordered %v", said, ordered)
				}
				if row.closed { // the next run is asked anew
					if err := b.run(); err != nil {
						t.Errorf("once more, it ends with %v", err)
					}
				}
				b.whole()
			})
		})
	}
}

// The way back asks for its own: what was accepted on the way there opens nothing.
func TestAcceptedForOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.engine.Observer, b.engine.Timeout, b.engine.Until = &spoiler{bench: b, spoil: unread}, 5*time.Minute, rotation.TrustNew
		b.engine.Accept = map[string]string{"b/app-1": "it is seen elsewhere"}
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.engine.Accept, b.engine.Until, b.engine.Back, b.config.Back = nil, "", true, true
		err := b.run()
		var gate *rotation.GateError
		if !errors.As(err, &gate) || !strings.Contains(err.Error(), "b/app-1") {
			t.Errorf("it ends with %v", err)
		}
		all, err := rotation.Journals(b.ctx, b.mesh.Kube, "istio-system")
		if err != nil || len(all) != 1 || len(all[0].Accepted) > 0 || len(all[0].Exceptions) == 0 {
			t.Errorf("%+v, %v", all, err)
		}
	})
}

// Who is accepted has a name: whoever is missing in a list that could not be read, or
// where nothing was seen at all, has none, and stands for anybody.
func TestAcceptedHasAName(t *testing.T) {
	root, _ := ca(t, "A")
	asks := rotation.Expectation{Roots: []*pki.Certificate{root.Cert}, Trusted: []*pki.Certificate{root.Cert}}
	replica := mesh.Istiod{Pod: "istiod-1"}
	for name, row := range map[string]struct {
		mesh   mesh.Snapshot
		object string
		kind   string
		may    bool
	}{
		"a proxy":                   {mesh.Snapshot{Proxies: []mesh.Proxy{{Namespace: "b", Name: "app-1", Error: "dial: refused"}}}, "b/app-1", "proxy", true},
		"a virtual machine":         {mesh.Snapshot{VMs: []mesh.VM{{Namespace: "a", Name: "vm"}}}, "a/vm", "vm", true},
		"an istiod":                 {mesh.Snapshot{ControlPlanes: []mesh.ControlPlane{{Namespace: "istio-system", Name: "istiod", Settled: true, Replicas: []mesh.Istiod{replica}}}}, "istio-system/istiod-1", "istiod", true},
		"a ConfigMap":               {mesh.Snapshot{Namespaces: []mesh.Namespace{{Name: "a", Trust: &mesh.TrustAnchor{Name: "istio-ca-root-cert", Error: "it is no bundle"}}}}, "a/istio-ca-root-cert", "configmap", true},
		"one reading":               {mesh.Snapshot{Gaps: []mesh.Gap{{Part: "settings of istio-system/istiod", Resource: "deployments", Error: "no"}}}, "settings of istio-system/istiod", "reading", true},
		"all pods":                  {mesh.Snapshot{Gaps: []mesh.Gap{{Part: "pods of all namespaces", Resource: "pods", Error: "no", Incomplete: true}}}, "pods of all namespaces", "reading", false},
		"pods of a control plane":   {mesh.Snapshot{Gaps: []mesh.Gap{{Part: "pods of istio-system/istiod", Resource: "pods", Error: "no", Incomplete: true}}}, "pods of istio-system/istiod", "reading", false},
		"all namespaces":            {mesh.Snapshot{Gaps: []mesh.Gap{{Part: "namespaces", Resource: "namespaces", Error: "no", Incomplete: true}}}, "namespaces", "reading", false},
		"what is published":         {mesh.Snapshot{Gaps: []mesh.Gap{{Part: "published roots", Resource: "configmaps", Error: "no", Incomplete: true}}}, "published roots", "reading", false},
		"no istiod at all":          {mesh.Snapshot{}, "none", "istiod", false},
		"no ConfigMap at all":       {mesh.Snapshot{}, "istio-ca-root-cert", "configmap", false},
		"a bundle for everybody":    {mesh.Snapshot{ClusterTrustBundle: &mesh.TrustAnchor{Name: "istio.io:istiod-ca:root-cert", Error: "it is no bundle"}}, "istio.io:istiod-ca:root-cert", "configmap", false},
		"what holds for everything": {mesh.Snapshot{Gaps: []mesh.Gap{{Part: "trust domain", Resource: "configmaps", Error: "no"}}}, "trust domain", "reading", false},
	} {
		t.Run(name, func(t *testing.T) {
			of := func(all []rotation.Blocker) int {
				return slices.IndexFunc(all, func(b rotation.Blocker) bool { return b.Kind == row.kind && b.Object == row.object && b.Unknown })
			}
			s := row.mesh
			stands := asks.Judge(&s, nil)
			i := of(stands.Blockers)
			if i < 0 {
				t.Fatalf("it is no blocker: %v", stands.Blockers)
			}
			if may := stands.Blockers[i].Acceptable(); may != row.may {
				t.Errorf("it may be accepted: %v", may)
			}
			if status := asks.Judge(&s, map[string]string{row.object: "whatever"}); (of(status.Accepted) >= 0) != row.may || (of(status.Blockers) < 0) != row.may {
				t.Errorf("accepted %v, in the way %v", status.Accepted, status.Blockers)
			}
		})
	}
}

// Pods that may not be listed any more are no mesh without pods, whoever takes it upon
// himself, and by whatever way he says so.
func TestListIsNotAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, small)
		orders, list, forbidden := make(chan rotation.Command, 1), "pods of all namespaces", false
		b.mesh.Kube.PrependReactor("list", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
			if l, ok := a.(k8stesting.ListAction); ok && forbidden && l.GetListRestrictions().Labels.Empty() {
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no"))
			}
			return false, nil, nil
		})
		b.after(rotation.EventWrite, rotation.TrustNew, func() {
			forbidden = true
			orders <- rotation.Command{Kind: rotation.CommandAccept, Object: list, Reason: "whatever"}
		})
		b.engine.Accept, b.engine.Commands, b.engine.Timeout = map[string]string{list: "whatever"}, orders, 5*time.Minute
		err := b.run()
		var gate *rotation.GateError
		if !errors.As(err, &gate) || !strings.Contains(err.Error(), list) {
			t.Errorf("it ends with %v", err)
		}
		if !b.said(rotation.EventWarning, "not accepted") {
			t.Error("nobody is told that it is not accepted")
		}
		b.whole()
	})
}
