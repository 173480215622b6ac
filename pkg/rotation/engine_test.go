package rotation_test

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

type wall struct{}

func (wall) Now() time.Time                         { return time.Now() }
func (wall) After(d time.Duration) <-chan time.Time { return time.After(d) }

// ca makes a root and an intermediate; it returns both.
func ca(t *testing.T, name string) (root, signer *pki.Authority) {
	t.Helper()
	root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "root " + name}, Key: pki.ECDSAP256, Now: time.Now(), PathLen: -1})
	if err != nil {
		t.Fatal(err)
	}
	signer, err = root.NewIntermediate(pki.Request{Subject: pkix.Name{CommonName: "intermediate " + name}, Key: pki.ECDSAP256, Now: time.Now(), PathLen: 0})
	if err != nil {
		t.Fatal(err)
	}
	return root, signer
}

func name(common string) pkix.Name { return pkix.Name{CommonName: common} }

// bench is a rehearsed mesh and an engine at it.
type bench struct {
	t        *testing.T
	ctx      context.Context
	mesh     *rehearsal.Mesh
	oldRoot  *pki.Authority
	old, new *pki.Authority
	events   []rotation.Event
	config   rotation.Config
	engine   *rotation.Engine
	prober   *mesh.Prober
	// skew is how far the operator's clock is ahead.
	skew time.Duration
	// counters is what a/app-0 has counted of a/app-1, where traffic is watched;
	// changed once something was written.
	counters func(changed bool) proxy.Upstream
}

func newBench(t *testing.T, change func(*rehearsal.Spec)) *bench {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b := &bench{t: t, ctx: ctx}
	b.oldRoot, b.old = ca(t, "A")
	_, b.new = ca(t, "B")
	spec := rehearsal.Spec{CA: b.old, MultiRoot: true, XDSAgent: true, Release: "1.30.3", Replicas: 2, Namespaces: []string{"a", "b"}, Proxies: 2, TTL: 24 * time.Hour, Lag: time.Second}
	if change != nil {
		change(&spec)
	}
	var err error
	if b.mesh, err = rehearsal.New(ctx, wall{}, spec); err != nil {
		t.Fatal(err)
	}
	b.prober = &mesh.Prober{Kube: b.mesh.Kube, Dialer: b.mesh, Now: func() time.Time { return time.Now().Add(b.skew) }, CSR: true}
	t.Cleanup(func() {
		cancel()
		synctest.Wait()
	})
	b.config = rotation.Config{New: b.new, CSRProof: true, TrustFileWait: 0}
	b.engine = &rotation.Engine{Kube: b.mesh.Kube, Observer: b, Clock: wall{}, Holder: "test", Timeout: time.Minute,
		Emit: func(e rotation.Event) { b.events = append(b.events, e) }}
	return b
}

func (b *bench) collector() *mesh.Collector {
	return &mesh.Collector{Kube: b.mesh.Kube, Dialer: b.mesh, Now: time.Now}
}

func (b *bench) Observe(ctx context.Context, o rotation.Observation) (*mesh.Snapshot, error) {
	s, err := b.collector().Read(ctx, mesh.Parts{Published: o.Proxies, Proxies: o.Proxies, Unread: o.Unread, Counters: o.Counters, Nodes: o.Nodes, Known: o.Settled})
	if err != nil {
		return nil, err
	}
	s.TakenAt, s.ClockSkew = s.TakenAt.Add(b.skew), mesh.Duration(b.skew)
	b.prober.Strongest = true
	b.prober.Probe(ctx, s, append(o.Vouching, b.oldRoot.Cert))
	if b.counters != nil && o.Counters {
		changed := slices.ContainsFunc(b.events, func(e rotation.Event) bool { return e.Kind == rotation.EventWrite && e.Phase == rotation.TrustNew })
		for i := range s.Proxies {
			p := &s.Proxies[i]
			p.Ready, p.IP = true, "10.0.0."+p.Name[len(p.Name)-1:]+strconv.Itoa(i)
			if p.Ref() == "a/app-1" {
				up := b.counters(changed)
				up.Cluster, up.Endpoint = "outbound|80||app.a.svc.cluster.local", p.IP+":8080"
				for j := range s.Proxies {
					if s.Proxies[j].Ref() == "a/app-0" {
						s.Proxies[j].Upstreams = []proxy.Upstream{up}
					}
				}
			}
		}
	}
	return s, nil
}

// run looks, plans and rotates, as the command does.
func (b *bench) run() error {
	b.t.Helper()
	s, err := b.collector().Collect(b.ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	s.Gaps = nil // there is no dynamic client here, and no virtual machine
	s.TakenAt, s.ClockSkew = s.TakenAt.Add(b.skew), mesh.Duration(b.skew)
	b.prober.Strongest = false
	b.prober.Probe(b.ctx, s, []*pki.Certificate{b.oldRoot.Cert})
	staged, err := rotation.FindStaged(b.ctx, b.mesh.Kube, "istio-system")
	if err != nil {
		b.t.Fatal(err)
	}
	config := b.config
	if staged != nil {
		config = config.Resume(s, staged)
	}
	return b.engine.Run(b.ctx, rotation.NewPlan(s, config), staged)
}

// whole requires that no pair has failed, and that pairs were judged at all.
func (b *bench) whole() {
	b.t.Helper()
	failed, judged := b.mesh.Failures()
	if judged == 0 {
		b.t.Fatal("no pair was judged: nothing is proven")
	}
	if len(failed) > 0 {
		b.t.Errorf("%d of %d pairs failed: %s -> %s: %s", len(failed), judged, failed[0].Client, failed[0].Server, failed[0].Reason)
	}
}

// ended requires that the mesh trusts only the new root.
func (b *bench) ended() {
	b.t.Helper()
	cm, err := b.mesh.Kube.CoreV1().ConfigMaps("a").Get(b.ctx, "istio-ca-root-cert", metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	if cm.Data["root-cert.pem"] != string(b.new.Roots.Raw) && b.config.Strategy != rotation.Intermediate {
		b.t.Error("the ConfigMaps do not hold the new root alone")
	}
	last := b.events[len(b.events)-1]
	if last.Kind != rotation.EventDone {
		b.t.Errorf("the last event is %s: %s", last.Kind, last.Message)
	}
}

func (b *bench) cross() {
	b.t.Helper()
	cross, err := b.oldRoot.CrossSign(b.new.Roots.Certs[0], time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	b.config.Cross = cross
}

func cold(s *rehearsal.Spec) { s.MultiRoot, s.XDSAgent, s.TTL = false, false, 10*time.Minute }

func TestHotBundle(t *testing.T) {
	for _, release := range []string{"1.24.6", "1.30.3"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, func(s *rehearsal.Spec) { s.Release = release })
			if err := b.run(); err != nil {
				t.Fatalf("istio %s: %v", release, err)
			}
			b.whole()
			b.ended()
		})
	}
}

// The other roots of a bundle are not ours to touch.
func TestForeignRootStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		foreign, _ := ca(t, "F")
		b := newBench(t, func(s *rehearsal.Spec) { s.Extra = []*pki.Certificate{foreign.Cert} })
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.whole()
		cm, err := b.mesh.Kube.CoreV1().ConfigMaps("a").Get(b.ctx, "istio-ca-root-cert", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if want := string(b.new.Roots.Certs[0].PEM()) + string(foreign.Cert.PEM()); cm.Data["root-cert.pem"] != want {
			t.Error("the foreign root does not stand beside the new one")
		}
	})
}

func TestCrossSignOnDefaultFlags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, cold)
		b.cross()
		b.engine.Timeout = 3 * 24 * time.Hour
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.whole()
		b.ended()
		for _, e := range b.events {
			if e.Kind == rotation.EventDone && e.Figures.Restarts != 2 {
				t.Errorf("%d istiods restarted, not 2", e.Figures.Restarts)
			}
		}
	})
}

// The control: without a cross certificate and without the flags there is no safe
// way, and a swap in one step breaks pairs. If this did not fail, the rows above
// would prove nothing.
func TestControlOneStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, cold)
		b.config.Strategy = rotation.CrossSign
		if err := b.run(); !errors.Is(err, rotation.ErrRefused) {
			t.Errorf("without a way it ended with %v", err)
		}
		secret, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Get(b.ctx, "cacerts", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		key, err := pki.MarshalKey(b.new.Key)
		if err != nil {
			t.Fatal(err)
		}
		secret.Data = map[string][]byte{"ca-cert.pem": b.new.Cert.PEM(), "ca-key.pem": key, "cert-chain.pem": b.new.Cert.PEM(), "root-cert.pem": b.new.Roots.Raw}
		if _, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Update(b.ctx, secret, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		patch := []byte(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`)
		if _, err := b.mesh.Kube.AppsV1().Deployments("istio-system").Patch(b.ctx, "istiod", "application/strategic-merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Hour)
		if err := b.mesh.StartProxy("a", "late"); err != nil {
			t.Fatal(err)
		}
		if failed, _ := b.mesh.Failures(); len(failed) == 0 {
			t.Error("a swap in one step failed no pair: the ground truth sees nothing")
		}
	})
}

// Whoever lags, or does not answer, keeps the gate closed and is named; nothing is
// written past it, and no pair fails.
func TestGateStaysClosed(t *testing.T) {
	for _, row := range []struct {
		name  string
		spoil func(*bench) string
		first bool // before the first write
	}{
		{"a stale ConfigMap", func(b *bench) string {
			foreign, _ := ca(b.t, "F")
			immutable := true
			cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: "istio-ca-root-cert"}, Immutable: &immutable, Data: map[string]string{"root-cert.pem": string(foreign.Cert.PEM())}}
			if _, err := b.mesh.Kube.CoreV1().ConfigMaps("b").Update(b.ctx, cm, metav1.UpdateOptions{}); err != nil {
				b.t.Fatal(err)
			}
			return "b/istio-ca-root-cert"
		}, true},
		{"a proxy that does not answer", func(b *bench) string { b.mesh.Freeze("b/app-1"); return "b/app-1" }, true},
		{"an istiod whose files do not follow", func(b *bench) string { return b.mesh.Hold(1) }, false},
		{"a webhook of somebody else", func(b *bench) string {
			foreign, _ := ca(b.t, "F")
			hooks := b.mesh.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations()
			c, err := hooks.Get(b.ctx, "istio-sidecar-injector", metav1.GetOptions{})
			if err != nil {
				b.t.Fatal(err)
			}
			c.Webhooks[0].ClientConfig.CABundle = foreign.Cert.PEM()
			if _, err := hooks.Update(b.ctx, c, metav1.UpdateOptions{}); err != nil {
				b.t.Fatal(err)
			}
			return "istio-sidecar-injector"
		}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				object := row.spoil(b)
				before, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Get(b.ctx, "cacerts", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				err = b.run()
				var gate *rotation.GateError
				if !errors.As(err, &gate) {
					t.Fatalf("it ended with %v", err)
				}
				if !strings.Contains(err.Error(), object) {
					t.Errorf("%s is not named: %v", object, err)
				}
				if gate.TimedOut == row.first {
					t.Errorf("timed out: %v, in phase %s", gate.TimedOut, gate.Phase)
				}
				after, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Get(b.ctx, "cacerts", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if row.first != (before.ResourceVersion == after.ResourceVersion) {
					t.Errorf("cacerts went from version %s to %s", before.ResourceVersion, after.ResourceVersion)
				}
				b.whole()
			})
		})
	}
}

// Killed after any write, and the lease with it, another run goes on from what the
// Secret holds.
func TestResume(t *testing.T) {
	for _, cross := range []bool{false, true} {
		for stop := 1; stop <= 4; stop++ {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(s *rehearsal.Spec) {
					if cross {
						cold(s)
					}
				})
				if cross {
					b.cross()
				}
				b.engine.Timeout = 3 * 24 * time.Hour
				ctx, kill := context.WithCancelCause(b.ctx)
				whole := b.ctx
				b.ctx = ctx
				writes := 0
				b.mesh.Kube.PrependReactor("update", "secrets", func(a k8stesting.Action) (bool, runtime.Object, error) {
					if writes++; writes == stop {
						kill(errors.New("killed"))
					}
					return false, nil, nil
				})
				err := b.run()
				if err == nil && writes >= stop {
					t.Fatalf("cross %v: killed at write %d, and it says that it is done", cross, stop)
				}
				b.ctx, b.engine.Holder = whole, "another machine"
				if err := b.run(); err != nil {
					t.Fatalf("cross %v: resumed after write %d: %v", cross, stop, err)
				}
				b.whole()
				b.ended()
			})
		}
	}
}

func TestTwoOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		name := b.mesh.Hold(1) // the first run waits for it
		first := make(chan error)
		go func() { first <- b.run() }()
		time.Sleep(5 * time.Second)
		second := newEngine(b)
		s, err := b.collector().Collect(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Gaps = nil
		if err := second.Run(b.ctx, rotation.NewPlan(s, b.config), nil); !errors.Is(err, rotation.ErrHeld) && !errors.Is(err, rotation.ErrRefused) {
			t.Errorf("a second operator got through: %v", err)
		}
		if err := <-first; err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the first ended with %v", err)
		}
	})
}

func newEngine(b *bench) *rotation.Engine {
	e := *b.engine
	e.Holder, e.Emit = "somebody else", nil
	return &e
}

func TestForeignChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.engine.Until = rotation.TrustNew
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		secret, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Get(b.ctx, "cacerts", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		secret.Data["root-cert.pem"] = append(secret.Data["root-cert.pem"], "# edited by hand\n"...)
		if _, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Update(b.ctx, secret, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		b.engine.Until = ""
		if err := b.run(); !errors.Is(err, rotation.ErrForeign) {
			t.Errorf("it went on over somebody else's change: %v", err)
		}
		b.whole()
	})
}

// No key of the old or of the new CA is in an event, the journal or a ConfigMap.
func TestNoKeyLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		maps, err := b.mesh.Kube.CoreV1().ConfigMaps("").List(b.ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, cm := range maps.Items {
			for _, text := range cm.Data {
				if strings.Contains(text, "PRIVATE") {
					t.Errorf("configmap %s holds a key", cm.Name)
				}
			}
		}
		for _, e := range b.events {
			if strings.Contains(e.Message, "PRIVATE") {
				t.Errorf("event %s holds a key", e.Kind)
			}
		}
	})
}

var _ proxy.Dialer = (*rehearsal.Mesh)(nil)
