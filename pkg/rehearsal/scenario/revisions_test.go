package scenario_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// canary has a second revision serve two proxies.
func canary(r rehearsal.Revision, w rehearsal.Workload) func(*bench, *rehearsal.Spec) {
	r.Name, w.Revision = "canary", "canary"
	if r.Replicas == 0 {
		r.Replicas = 1
	}
	return both(beside(w), func(_ *bench, s *rehearsal.Spec) { s.Revisions = append(s.Revisions, r) })
}

func by(s rotation.Strategy, reason rotation.Reason) func(*bench) {
	return func(b *bench) { b.trial.Config.Strategy, b.trial.Config.Reason = s, reason }
}

func revisionRows() []row {
	coldCanary := rehearsal.Revision{Release: "1.29.6"}
	hotCanary := rehearsal.Revision{Release: "1.24.5", MultiRoot: true}
	return []row{
		{name: "two-revisions-hot-far-apart", facts: []string{"B2", "B4"}, spec: canary(hotCanary, rehearsal.Workload{Release: "1.24.5"}), strategy: rotation.HotBundle},
		{name: "two-revisions-cross", facts: []string{"B4", "S3"}, spec: both(cold, canary(coldCanary, rehearsal.Workload{})), cross: true, strategy: rotation.CrossSign},
		{name: "two-revisions-cross-old-agents", facts: []string{"B4", "D1"}, spec: both(cold, canary(coldCanary, rehearsal.Workload{Release: "1.20.0"})), cross: true, strategy: rotation.CrossSign},
		{name: "two-revisions-one-hot-cross", facts: []string{"B4"}, spec: canary(coldCanary, rehearsal.Workload{}), cross: true, strategy: rotation.CrossSign},
		{name: "two-revisions-renewal", facts: []string{"B4", "B5"}, spec: both(cold, canary(coldCanary, rehearsal.Workload{})), strategy: rotation.BundleByRenewal},
		{name: "two-revisions-waves", facts: []string{"B4"}, spec: both(cold, func(_ *bench, s *rehearsal.Spec) { s.Proxies = 0 }, canary(coldCanary, rehearsal.Workload{}), third), spoil: by(rotation.BundleByRestart, rotation.Expiring), strategy: rotation.BundleByRestart},
		{name: "two-revisions-waves-compromised", facts: []string{"B4"}, spec: both(func(_ *bench, s *rehearsal.Spec) { s.Proxies = 0 }, canary(coldCanary, rehearsal.Workload{}), third), spoil: by("", rotation.Compromised), strategy: rotation.BundleByRestart},
		{name: "two-revisions-self-signed", facts: []string{"A2", "B4"}, spec: both(selfSigned, canary(coldCanary, rehearsal.Workload{})), strategy: rotation.BundleByRenewal},
		{name: "two-revisions-one-of-a-bad-release", facts: []string{"D4"}, spec: canary(rehearsal.Revision{Release: "1.24.4", MultiRoot: true}, rehearsal.Workload{}), refused: "bad-release"},
	}
}

// third is a workload of the default revision that a wave may restart.
func third(_ *bench, s *rehearsal.Spec) {
	s.Workloads = append(s.Workloads, rehearsal.Workload{Namespace: "a", Name: "third", Proxies: 2})
}

// B: every strategy with two revisions, of one release or of two.
func TestTwoRevisions(t *testing.T) {
	for _, r := range revisionRows() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { play(t, r, nil) })
		})
	}
}

// B: the plan says what each revision does.
func TestPlanNamesRevisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, canary(rehearsal.Revision{Release: "1.17.0"}, rehearsal.Workload{}))
		s, err := b.trial.Look(b.ctx)
		b.must(err)
		plan := rotation.NewPlan(s, b.trial.Config)
		want := map[string]string{
			"default": "loads a changed bundle in place, loads a changed signer in place",
			"canary":  "takes a changed bundle by a restart, takes a changed signer by a restart; restarted",
		}
		if len(plan.Revisions) != len(want) {
			t.Fatalf("%+v", plan.Revisions)
		}
		for _, r := range plan.Revisions {
			if !strings.HasPrefix(r.Does, want[r.Revision]) || r.Replicas == 0 || r.Proxies == 0 || r.Restarts == 0 {
				t.Errorf("%+v", r)
			}
		}
	})
}

// B: a revision that is installed in the middle takes part from then on: where it can
// follow, the rotation ends with it; where it cannot, the gate names its istiod, and
// nothing breaks.
func TestRevisionAppears(t *testing.T) {
	for _, row := range []struct {
		name     string
		spec     func(*bench, *rehearsal.Spec)
		revision rehearsal.Revision
		cross    bool
		closed   string
	}{
		{"hot beside hot", nil, rehearsal.Revision{MultiRoot: true}, false, ""},
		{"another release beside hot", nil, rehearsal.Revision{MultiRoot: true, Release: "1.24.5"}, false, ""},
		{"cold beside hot", nil, rehearsal.Revision{}, false, "istiod-canary"},
		{"cold beside cold", cold, rehearsal.Revision{}, false, ""},
		{"cold beside cross-signed", cold, rehearsal.Revision{Release: "1.29.6"}, true, ""},
	} {
		for _, phase := range []rotation.Phase{rotation.TrustNew, rotation.SignNew, rotation.SwapTrust} {
			if row.cross == (phase == rotation.TrustNew) || !row.cross && phase == rotation.SwapTrust {
				continue
			}
			t.Run(row.name+"/"+string(phase), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t, row.spec)
					if row.cross {
						cross, err := b.oldRoot.CrossSign(b.newRoot.Cert, time.Now())
						b.must(err)
						b.trial.Config.Cross = cross
					}
					row.revision.Name, row.revision.Replicas = "canary", 1
					installed := false
					b.trial.Emit = func(e rotation.Event) {
						if e.Kind == rotation.EventPassed && e.Phase == phase && !installed {
							installed = true
							b.must(b.mesh.StartRevision(row.revision))
							b.must(b.mesh.StartProxy("a", "newcomer"))
						}
					}
					out := b.trial.Run(b.ctx)
					if !installed {
						t.Fatalf("it was never installed: %v", out.Err)
					}
					if failed := b.failed(); len(failed) > 0 {
						t.Errorf("while it was at work: %v", failed[0])
					}
					var gate *rotation.GateError
					switch {
					case row.closed == "" && (out.Err != nil || !out.Proof.Open()):
						t.Errorf("it ends with %v, %v", out.Err, out.Proof.Blockers)
					case row.closed != "" && (!errors.As(out.Err, &gate) || !strings.Contains(out.Err.Error(), row.closed)):
						t.Errorf("it ends with %v", out.Err)
					}
				})
			})
		}
	}
}

// B: a cold revision that comes into a hot rotation, with proxies that no push reaches:
// the gate names it with a command that helps, and both ways out end well, that command
// beside the run and the same rotation once more.
func TestColdRevisionAppears(t *testing.T) {
	for _, phase := range []rotation.Phase{rotation.TrustNew, rotation.SignNew} {
		for _, byHand := range []bool{true, false} {
			t.Run(fmt.Sprint(phase, ", by hand ", byHand), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t, nil)
					const command = "kubectl rollout restart deployment/istiod-canary -n istio-system"
					installed, restarted := false, false
					b.trial.Timeout = 10 * time.Minute
					b.trial.Emit = func(e rotation.Event) {
						if e.Kind == rotation.EventPassed && e.Phase == phase && !installed {
							installed = true
							b.must(b.mesh.StartRevision(rehearsal.Revision{Name: "canary", Replicas: 1}))
							b.must(b.mesh.StartWorkload(rehearsal.Workload{Namespace: "b", Name: "cold", Proxies: 1, Cold: true, Revision: "canary"}))
						}
						if byHand && e.Kind == rotation.EventGate && strings.Contains(e.Message, command) && !restarted {
							restarted = true
							time.AfterFunc(time.Second, func() {
								patch := []byte(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`)
								_, err := b.mesh.Kube.AppsV1().Deployments("istio-system").Patch(b.ctx, "istiod-canary", "application/strategic-merge-patch+json", patch, metav1.PatchOptions{})
								b.must(err)
							})
						}
					}
					out := b.trial.Run(b.ctx)
					var gate *rotation.GateError
					switch {
					case !installed:
						t.Fatalf("it was never installed: %v", out.Err)
					case byHand && !restarted:
						t.Errorf("no gate says %q: %v", command, out.Err)
					case !byHand && (!errors.As(out.Err, &gate) || !strings.Contains(out.Err.Error(), "kubectl rollout restart deployment/")):
						t.Errorf("it ends with %v", out.Err)
					}
					// Whoever of its proxies no push reaches follows with its next certificate.
					b.trial.Timeout, b.trial.Emit = 0, nil
					for range 4 {
						if out.Err == nil || errors.Is(out.Err, rotation.ErrRefused) {
							break
						}
						if !errors.As(out.Err, &gate) || !strings.Contains(out.Err.Error(), "canary") && !strings.Contains(out.Err.Error(), "b/cold") {
							t.Errorf("it ends with %v", out.Err)
						}
						out = b.trial.Run(b.ctx)
					}
					if out.Err != nil || !out.Proof.Open() {
						t.Errorf("once more, it ends with %v: %v", out.Err, out.Proof.Blockers)
					}
					b.later()
					if failed := b.failed(); len(failed) > 0 {
						t.Errorf("while it was at work, or later: %v", failed[0])
					}
				})
			})
		}
	}
}
