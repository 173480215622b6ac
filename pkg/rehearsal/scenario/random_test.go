package scenario_test

import (
	"context"
	"errors"
	"flag"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"pgregory.net/rapid"
)

// Whatever the mesh, whatever fails, and wherever the process is killed: it ends
// right, or stops with the mesh intact; no pair ever fails, no key is ever lost; and
// once what failed is mended, the same command goes through.
func TestAnyMeshAnyFault(t *testing.T) {
	// A rotation or two each: a few are drawn where nobody asks for more.
	if checks := flag.Lookup("rapid.checks"); checks != nil && checks.Value.String() == checks.DefValue {
		if err := flag.Set("rapid.checks", "15"); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		hot := rapid.Bool().Draw(rt, "hot")
		release := rapid.SampledFrom([]string{"1.20.1", "1.24.6", "1.29.6", "1.30.3", "1.31.0"}).Draw(rt, "release")
		replicas := rapid.IntRange(1, 3).Draw(rt, "replicas")
		proxies := rapid.IntRange(1, 3).Draw(rt, "proxies")
		gateway, coldOne, tls := rapid.Bool().Draw(rt, "gateway"), rapid.Bool().Draw(rt, "cold one"), rapid.Bool().Draw(rt, "tls")
		seed := rapid.Uint64().Draw(rt, "seed")
		kill := rapid.IntRange(0, 150).Draw(rt, "killed at call")
		verb := rapid.SampledFrom([]string{"", "update", "patch", "create", "list", "get", "dial"}).Draw(rt, "verb")
		skip, times := rapid.IntRange(0, 40).Draw(rt, "skip"), rapid.IntRange(1, 4).Draw(rt, "times")
		lost := rapid.Bool().Draw(rt, "lost")
		fails := faultsOfServers()[rapid.SampledFrom(slices.Sorted(maps.Keys(faultsOfServers()))).Draw(rt, "fault")]
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, func(_ *bench, s *rehearsal.Spec) {
				s.MultiRoot, s.XDSAgent, s.Release, s.Replicas, s.Proxies = hot, hot, release, replicas, proxies
				s.Spread, s.Random, s.FileLag = 2*time.Second, rand.New(rand.NewPCG(seed, 1)), 20*time.Second
				if tls {
					s.Source = mesh.CAPluggedTLS
				}
				if gateway {
					s.Workloads = append(s.Workloads, rehearsal.Workload{Namespace: "gw", Name: "gateway", Kind: mesh.Gateway, Proxies: 1})
				}
				if coldOne {
					s.Workloads = append(s.Workloads, rehearsal.Workload{Namespace: "b", Name: "cold", Cold: true, Proxies: 1})
				}
			})
			cross, err := b.oldRoot.CrossSign(b.newRoot.Cert, time.Now())
			b.must(err)
			b.trial.Config.Cross = cross
			ctx, cancel := context.WithCancelCause(b.ctx)
			defer cancel(nil)
			if kill > 0 {
				b.mesh.Kill(kill, func() { cancel(errors.New("killed")) })
			}
			if verb != "" {
				b.mesh.Inject(rehearsal.Fault{Verb: verb, Skip: skip, Times: times, Lost: lost, Err: fails})
			}
			out := b.trial.Run(ctx)
			b.keysKept(rt)
			if failed := b.failed(); len(failed) > 0 {
				rt.Fatalf("it ended with %v, and a pair failed: %v", out.Err, failed[0])
			}
			b.mesh.Mend()
			b.trial.Holder = "the next"
			if out.Err != nil {
				time.Sleep(2 * time.Minute) // a dead holder's Lease runs out
				out = b.trial.Run(b.ctx)
			}
			if out.Err != nil || !out.Proof.Open() {
				rt.Fatalf("mended, it ends with %v, %v", out.Err, out.Proof.Blockers)
			}
			b.later()
			if failed := b.failed(); len(failed) > 0 {
				rt.Fatalf("FALSE PASS: %v", failed[0])
			}
		})
	})
}

// faultsOfServers are what an API server, or the way to it, answers on a bad day.
func faultsOfServers() map[string]error {
	return map[string]error{
		"409": apierrors.NewConflict(secrets(), "cacerts", errors.New("changed")), "429": apierrors.NewTooManyRequests("slow down", 1),
		"500": apierrors.NewInternalError(errors.New("broken")), "time-out": apierrors.NewTimeoutError("no answer", 1),
		"closed": rehearsal.ErrWatchClosed, "another": errors.New("a fault"),
	}
}

// keysKept requires that the old CA's key is where somebody finds it.
func (b *bench) keysKept(rt *rapid.T) {
	key, err := b.old.KeyPEM()
	b.must(err)
	for _, name := range []string{"cacerts", "meshca-staged"} {
		secret, err := b.mesh.Kube.Tracker().Get(corev1.SchemeGroupVersion.WithResource("secrets"), "istio-system", name)
		if err != nil {
			continue // not made yet
		}
		for _, value := range secret.(*corev1.Secret).Data {
			if string(value) == string(key) {
				return
			}
		}
	}
	rt.Fatal("the old CA's key is lost")
}
