package scenario_test

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal/scenario"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	k8stesting "k8s.io/client-go/testing"
)

const day = 24 * time.Hour

// citadelBench is a mesh of Citadel's time, a month before its root ends, and the
// renewal of that.
func citadelBench(t *testing.T, release string, workloads ...rehearsal.Workload) *bench {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b := &bench{t: t, ctx: ctx}
	t.Cleanup(func() {
		cancel()
		synctest.Wait()
	})
	root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{Organization: []string{"cluster.local"}}, Now: time.Now(), Lifetime: 365 * day, PathLen: -1})
	b.must(err)
	b.oldRoot, b.old = root, root
	_, b.new = b.ca("B")
	life := 90 * day
	if slices.ContainsFunc(workloads, func(w rehearsal.Workload) bool { return w.Release != "" }) {
		life = 400 * day // one that misses new files would not have come so far otherwise
	}
	if workloads == nil {
		workloads = []rehearsal.Workload{{Namespace: "a", Name: "one", Proxies: 2}, {Namespace: "b", Name: "two", Proxies: 2}}
	}
	b.mesh, err = rehearsal.NewCitadel(ctx, wall{}, rehearsal.CitadelSpec{CA: root, Release: release, Workloads: workloads, TTL: life, Lag: 40 * time.Second, Secured: true, Unrotated: true})
	b.must(err)
	time.Sleep(335 * day)
	b.trial = &scenario.Trial{Mesh: b.mesh, Clock: wall{}, Config: rotation.Config{New: b.new, CSRProof: true, TrustFileWait: 30 * time.Second, Override: []string{rotation.Citadel}}}
	return b
}

// TestS6_Citadel: Istio 1.4's root transition without its script's faults: in place, the same
// key and identifier, every Secret by DER, every Envoy by /certs; and nothing is
// refused on the way, or when the old certificate ends.
func TestS6_Citadel(t *testing.T) {
	stuck := rehearsal.Workload{Namespace: "b", Name: "stuck", Proxies: 2, Release: "1.1.5"}
	one := rehearsal.Workload{Namespace: "a", Name: "one", Proxies: 2}
	for name, test := range map[string]struct {
		release   string
		workloads []rehearsal.Workload
		restarted string // the workload whose pods are
	}{
		"1.0.8": {"1.0.8", nil, ""}, "1.1.8": {"1.1.8", nil, ""}, "1.4.10": {"1.4.10", nil, ""},
		"a sidecar that misses new files": {"1.1.8", []rehearsal.Workload{one, stuck}, "stuck"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := citadelBench(t, test.release, test.workloads...)
				before := b.secret("istio-ca-secret")
				b.renewed()
				out := b.trial.Run(b.ctx)
				if out.Err != nil {
					t.Fatalf("it ends with %v, %v", out.Err, out.Plan.Refusals)
				}
				if !out.Proof.Open() || out.Proof.Secrets.Of == 0 || out.Proof.Secrets.Ready != out.Proof.Secrets.Of {
					t.Errorf("it is done, and not proven: %+v", out.Proof)
				}
				after := b.secret("istio-ca-secret")
				if after.UID != before.UID || string(after.Data[pki.KeyFile]) != string(before.Data[pki.KeyFile]) || string(after.Data[pki.CertFile]) == string(before.Data[pki.CertFile]) {
					t.Error("the Secret was not changed in place, its key is another, or its certificate is not")
				}
				for _, e := range out.Events {
					if e.Kind == rotation.EventWorkload && (test.restarted == "" || !strings.Contains(e.Object, test.restarted)) {
						t.Errorf("restarted: %s", e.Object)
					}
				}
				if out.Plan.Cost.WorkloadRestarts > 0 != (test.restarted != "") {
					t.Errorf("the plan says that %d workload pods are restarted", out.Plan.Cost.WorkloadRestarts)
				}
				if !slices.ContainsFunc(out.Plan.Warnings, func(r rotation.Refusal) bool { return r.ID == "pilot-without-sidecar" }) {
					t.Error("the plan does not warn of a Pilot without a sidecar")
				}
				if !slices.ContainsFunc(out.Plan.Warnings, func(r rotation.Refusal) bool {
					return r.ID == "envoy-hot-restart" && strings.Contains(r.Why, fmt.Sprintf(" all %d proxies ", map[bool]int{true: 4, false: 2}[test.restarted == ""]))
				}) {
					t.Errorf("the plan does not say that Envoys are restarted, nor which: %v", out.Plan.Warnings)
				}
				s, err := b.trial.Look(b.ctx)
				b.must(err)
				for _, id := range []string{"pilot-stale", "galley-stale", "injector-stale"} {
					if !found(check.Run(s, check.DefaultPolicy()), id) {
						t.Errorf("afterwards check does not offer the restart that %s needs", id)
					}
				}
				time.Sleep(100 * day)
				if failed := b.failed(); len(failed) > 0 {
					t.Error(failed[0])
				}
			})
		})
	}
}

// TestS9_CitadelInGoodOrder: what only an istiod has is not missed on a mesh of
// Citadel's time, nor is a part held for older than the root that it started with.
func TestS9_CitadelInGoodOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := citadelBench(t, "1.4.10")
		s, err := b.trial.Look(b.ctx)
		b.must(err)
		for _, f := range check.Run(s, check.DefaultPolicy()).Findings {
			if f.Category == check.Trust && (f.Severity == pki.SeverityError || strings.HasSuffix(f.ID, "-stale")) {
				t.Errorf("%s: %s: %s", f.ID, f.Object, f.Message)
			}
		}
		if expect, ok := rotation.Present(s); !ok || !expect.Judge(s, nil).Open() {
			t.Errorf("it does not agree with itself: %v", expect.Judge(s, nil).Blockers)
		}
	})
}

// TestCitadelBySDS: with the node agent of 1.1 to 1.4 a proxy's certificate is no file.
// It and the roots follow with the proxy's next request, which is waited for, whatever
// its release makes of files.
func TestCitadelBySDS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := citadelBench(t, "1.1.5")
		b.renewed()
		s, err := b.trial.Look(b.ctx)
		b.must(err)
		files := rotation.NewPlan(s, b.trial.Config)
		leaf := s.WorkloadSecrets[0].Chain[0]
		for i := range s.Proxies {
			p := &s.Proxies[i]
			if p.Loaded.Evidence != proxy.EvidenceCerts || p.Reach != mesh.ReachRestart {
				t.Fatalf("%s: %s by %s", p.Ref(), p.Reach, p.Loaded.Evidence)
			}
			p.Loaded = &proxy.Loaded{Evidence: proxy.EvidenceConfigDump, Identities: []proxy.Identity{{Secret: "default", Chain: []*pki.Certificate{leaf}, Roots: b.oldRoot.Roots.Certs}}}
			if p.Reach, p.ReachWhy = mesh.ReachOf(*p, s.ControlPlanes); p.Reach != mesh.ReachRenewal || !strings.Contains(p.ReachWhy, "SDS") {
				t.Errorf("%s: %s, %s", p.Ref(), p.Reach, p.ReachWhy)
			}
		}
		plan := rotation.NewPlan(s, b.trial.Config)
		if plan.Strategy != rotation.SameKey || !slices.ContainsFunc(plan.Warnings, func(r rotation.Refusal) bool {
			return r.ID == "citadel-by-sds" && strings.Contains(r.Hint, "nodeagent")
		}) {
			t.Errorf("%q, warnings %v", plan.Strategy, plan.Warnings)
		}
		if life := leaf.X509.NotAfter.Sub(leaf.X509.NotBefore); plan.Cost.LongestWait < life || len(plan.Cost.Lagging) == 0 || files.Cost.LongestWait >= life {
			t.Errorf("%s is waited for certificates that live %s, and %s for files: %v", plan.Cost.LongestWait, life, files.Cost.LongestWait, plan.Refusals)
		}
	})
}

func found(r check.Report, id string) bool {
	return slices.ContainsFunc(r.Findings, func(f finding) bool { return f.ID == id })
}

// TestS6_CitadelLeftAlone: without the transition that mesh breaks when its root ends;
// else nothing is shown.
func TestS6_CitadelLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := citadelBench(t, "1.1.8")
		time.Sleep(40 * day)
		if len(b.failed()) == 0 {
			t.Error("its root has ended, and nobody is refused")
		}
	})
}

// TestS6_CitadelRotatesItself: one of 1.4 certifies its root anew before that ends,
// with the key that it has, and refuses nobody; one of 1.3.4 has nothing that would.
func TestS6_CitadelRotatesItself(t *testing.T) {
	for release, rotates := range map[string]bool{"1.4.10": true, "1.3.4": false} {
		t.Run(release, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{Organization: []string{"cluster.local"}}, Now: time.Now(), Lifetime: 365 * day, PathLen: -1})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				b := &bench{t: t, ctx: ctx}
				b.mesh, err = rehearsal.NewCitadel(ctx, wall{}, rehearsal.CitadelSpec{CA: root, Release: release, TTL: 90 * day, Lag: 40 * time.Second,
					Workloads: []rehearsal.Workload{{Namespace: "a", Name: "one", Proxies: 2}}})
				b.must(err)
				time.Sleep(375 * day)
				if failed := b.failed(); len(failed) == 0 != rotates {
					t.Errorf("ten days after its root's end: %d refused", len(failed))
				}
				now := b.secret("istio-ca-secret").Data
				held, err := pki.ParseBundle(now[pki.CertFile])
				b.must(err)
				if held.Certs[0].Equal(root.Cert) == rotates {
					t.Errorf("istio-ca-secret holds the root that it began with: %v", !rotates)
				}
			})
		})
	}
}

// TestS6_CitadelCompetes: where Citadel is about to renew its root itself the plan says
// so, whoever is second writes nothing, and nobody is refused; a way back is undone by
// Citadel's next look, as the plan of it says.
func TestS6_CitadelCompetes(t *testing.T) {
	warned := func(p *rotation.Plan) bool {
		return slices.ContainsFunc(p.Warnings, func(r rotation.Refusal) bool { return r.ID == "citadel-renews-root" })
	}
	for name, test := range map[string]struct {
		age         time.Duration // of a root of 365 days
		off         bool
		first, back bool // Citadel looks before the write; the way back is gone
		warned      bool
	}{
		"years before":     {age: 30 * day},
		"told not to":      {age: 300 * day, off: true},
		"ours comes first": {age: 300 * day, warned: true},
		"Citadel is first": {age: 300 * day, warned: true, first: true},
		"the way back":     {age: 300 * day, warned: true, back: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{Organization: []string{"cluster.local"}}, Now: time.Now().Add(-test.age), Lifetime: 365 * day, PathLen: -1})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				b := &bench{t: t, ctx: ctx, oldRoot: root, old: root}
				b.mesh, err = rehearsal.NewCitadel(ctx, wall{}, rehearsal.CitadelSpec{CA: root, Release: "1.4.10", TTL: 30 * day, Lag: 40 * time.Second, Unrotated: test.off,
					Workloads: []rehearsal.Workload{{Namespace: "a", Name: "one", Proxies: 2}, {Namespace: "b", Name: "two", Proxies: 2}}})
				b.must(err)
				b.trial = &scenario.Trial{Mesh: b.mesh, Clock: wall{}, Config: rotation.Config{CSRProof: true, TrustFileWait: 30 * time.Second}}
				b.renewed()
				held := func() string { return string(b.secret("istio-ca-secret").Data[pki.CertFile]) }
				ours, waited := string(b.trial.Config.New.Cert.PEM()), false
				if test.first {
					b.trial.Emit = func(rotation.Event) {
						if !waited {
							waited = true
							time.Sleep(2 * time.Hour)
						}
					}
				}
				out := b.trial.Run(b.ctx)
				if warned(out.Plan) != test.warned {
					t.Errorf("it warns: %v", out.Plan.Warnings)
				}
				switch now := held(); {
				case test.first && (out.Err == nil || now == ours || now == string(root.Cert.PEM())):
					t.Errorf("Citadel's own certificate is not left as it is: %v", out.Err)
				case !test.first && (out.Err != nil || now != ours):
					t.Errorf("it ends with %v", out.Err)
				}
				if test.back {
					b.trial.Config.Back = true
					if out = b.trial.Run(b.ctx); out.Err != nil || held() != string(root.Cert.PEM()) || !warned(out.Plan) {
						t.Errorf("the way back ends with %v, %v", out.Err, out.Plan.Warnings)
					}
				}
				before := held()
				time.Sleep(3 * time.Hour)
				if undone := held() != before; undone != test.back {
					t.Errorf("three hours later another has written: %v", undone)
				}
				if s, err := b.trial.Look(b.ctx); err != nil || found(check.Run(s, check.DefaultPolicy()), "citadel-root-overdue") {
					t.Errorf("it has looked, and is held for overdue (%v)", err)
				}
				if failed := b.failed(); len(failed) > 0 {
					t.Error(failed[0])
				}
			})
		})
	}
}

// TestT1_CitadelSidecarThatStays: a bare pod of 1.1.5 is never restarted, and its
// Envoy keeps the old root: the gate says so by name.
func TestT1_CitadelSidecarThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := citadelBench(t, "1.1.8", rehearsal.Workload{Namespace: "a", Name: "one", Proxies: 1}, rehearsal.Workload{Namespace: "b", Name: "bare", Controller: rehearsal.BarePod, Proxies: 1, Release: "1.1.5", Pods: []string{"bare"}})
		b.renewed()
		out := b.trial.Run(b.ctx)
		var gate *rotation.GateError
		if !errors.As(out.Err, &gate) || gate.Phase != rotation.SwapTrust || !strings.Contains(out.Err.Error(), "b/bare") {
			t.Errorf("it ends with %v", out.Err)
		}
	})
}

// TestS6_CitadelKilled: wherever the process is killed, the same command goes on.
func TestS6_CitadelKilled(t *testing.T) {
	step := 13
	if testing.Short() {
		step = 40
	}
	for kill := 12; kill < 100; kill += step {
		t.Run(fmt.Sprint("at call ", kill), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := citadelBench(t, "1.1.8")
				b.renewed()
				ctx, cancel := context.WithCancelCause(b.ctx)
				defer cancel(nil)
				b.mesh.Kill(kill, func() { cancel(errors.New("killed")) })
				out := b.trial.Run(ctx)
				b.mesh.Mend()
				if out.Err != nil {
					b.trial.Holder = "the next"
					time.Sleep(2 * time.Minute)
					out = b.trial.Run(b.ctx)
				}
				if out.Err != nil || !out.Proof.Open() {
					t.Fatalf("mended, it ends with %v, %v", out.Err, out.Proof.Blockers)
				}
				time.Sleep(100 * day)
				if failed := b.failed(); len(failed) > 0 {
					t.Error(failed[0])
				}
			})
		})
	}
}

// TestS6_CitadelBack: back to the old certificate, for as long as that holds.
func TestS6_CitadelBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := citadelBench(t, "1.1.8")
		before := string(b.secret("istio-ca-secret").Data[pki.CertFile])
		b.renewed()
		if out := b.trial.Run(b.ctx); out.Err != nil {
			t.Fatal(out.Err)
		}
		b.trial.Config.Back = true
		if out := b.trial.Run(b.ctx); out.Err != nil {
			t.Fatalf("the way back ends with %v", out.Err)
		}
		if string(b.secret("istio-ca-secret").Data[pki.CertFile]) != before {
			t.Error("the old certificate is not back")
		}
		if failed := b.failed(); len(failed) > 0 {
			t.Error(failed[0])
		}
	})
}

// TestS6_CitadelRefused: never without being asked, and never to another key.
func TestS6_CitadelRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*bench)
		id     string
	}{
		"without --untested": {func(b *bench) { b.renewed(); b.trial.Config.Override = nil }, "citadel"},
		"another key":        {func(*bench) {}, "citadel-key"},
		"compromised":        {func(b *bench) { b.renewed(); b.trial.Config.Reason = rotation.Compromised }, "no-same-key"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := citadelBench(t, "1.1.8")
				test.change(b)
				out := b.trial.Run(b.ctx)
				if !errors.Is(out.Err, rotation.ErrRefused) || !slices.ContainsFunc(out.Plan.Refusals, func(r rotation.Refusal) bool { return r.ID == test.id && r.Hint != "" }) {
					t.Errorf("it is not refused by %s: %v, %v", test.id, out.Plan.Refusals, out.Err)
				}
				if s, err := b.trial.Look(b.ctx); err != nil || s.ControlPlanes[0].CA.Kind != mesh.CACitadel {
					t.Errorf("it is no Citadel: %v", err)
				}
			})
		})
	}
}

// TestS6_CitadelWaveKilled: killed while a workload's pods are replaced, whoever carries
// on waits for that, and does not begin it once more.
func TestS6_CitadelWaveKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := citadelBench(t, "1.1.8", rehearsal.Workload{Namespace: "a", Name: "one", Proxies: 1}, rehearsal.Workload{Namespace: "b", Name: "stuck", Proxies: 20, Release: "1.1.5"})
		b.renewed()
		restarts := func() (n int) {
			for _, a := range b.mesh.Kube.Actions() {
				if p, ok := a.(k8stesting.PatchAction); ok && p.GetResource().Resource == "deployments" && p.GetName() == "stuck" {
					n++
				}
			}
			return n
		}
		ctx, cancel := context.WithCancelCause(b.ctx)
		defer cancel(nil)
		b.trial.Emit = func(e rotation.Event) {
			if restarts() > 0 && ctx.Err() == nil {
				b.mesh.Kill(1, func() { cancel(errors.New("killed")) })
			}
		}
		if out := b.trial.Run(ctx); out.Err == nil || restarts() != 1 {
			t.Fatalf("%d restarts, it ends with %v", restarts(), out.Err)
		}
		b.mesh.Mend()
		b.trial.Emit = nil // the same holder, at once: its pods are being replaced still
		if out := b.trial.Run(b.ctx); out.Err != nil || !out.Proof.Open() {
			t.Fatalf("mended, it ends with %v, %v", out.Err, out.Proof.Blockers)
		}
		if restarts() != 1 {
			t.Errorf("its pods are replaced %d times", restarts())
		}
	})
}

// TestS6_CitadelProven: a mesh of the release that a real Citadel has proven needs no
// --untested, and one sidecar of another release does.
func TestS6_CitadelProven(t *testing.T) {
	for name, test := range map[string]struct {
		workloads []rehearsal.Workload
		refused   bool
	}{
		"all of 1.4":       {[]rehearsal.Workload{{Namespace: "a", Name: "one", Proxies: 1}}, false},
		"a sidecar of 1.3": {[]rehearsal.Workload{{Namespace: "a", Name: "one", Proxies: 1}, {Namespace: "b", Name: "before", Proxies: 1, Release: "1.3.4"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := citadelBench(t, "1.4.10", test.workloads...)
				b.renewed()
				b.trial.Config.Override = nil
				out := b.trial.Run(b.ctx)
				if refused := slices.ContainsFunc(out.Plan.Refusals, func(r rotation.Refusal) bool { return r.ID == rotation.Citadel }); refused != test.refused {
					t.Errorf("refused %t: %v, %v", refused, out.Plan.Refusals, out.Err)
				}
				if !test.refused && out.Err != nil {
					t.Error(out.Err)
				}
			})
		})
	}
}
