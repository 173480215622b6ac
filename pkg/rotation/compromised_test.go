package rotation_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// B: of a leaked key each strategy says what stays open to whoever has it, and until
// which phase; what keeps it in power is not possible.
func TestCompromised(t *testing.T) {
	for _, row := range []struct {
		name     string
		strategy rotation.Strategy
		mesh     func(*rehearsal.Spec)
		prepare  func(*bench)
		end      rotation.Phase
		most     time.Duration // the longest that it may say
		because  string        // it is not possible
	}{
		{"hot", rotation.HotBundle, nil, nil, rotation.DistrustOld, 5 * time.Minute, ""},
		{"cross-signed", rotation.CrossSign, cold, func(b *bench) { b.cross() }, rotation.SwapTrust, 30 * time.Minute, ""},
		{"waves", rotation.BundleByRestart, mixed, nil, rotation.DistrustOld, 5 * time.Minute, ""},
		{"renewal", rotation.BundleByRenewal, cold, nil, "", 0, "the leaked key would stay trusted"},
		{"intermediate", rotation.Intermediate, nil, (*bench).sameRoot, "", 0, "the same root would go on vouching"},
		{"same key", rotation.SameKey, nil, nil, "", 0, "key of its own"},
		{"picked hot", "", nil, nil, rotation.DistrustOld, 5 * time.Minute, ""},
		{"picked cold", "", cold, nil, rotation.DistrustOld, 5 * time.Minute, ""},
		{"self-signed", "", func(s *rehearsal.Spec) { cold(s); s.Source = mesh.CASelfSigned }, nil, rotation.DistrustOld, 5 * time.Minute, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				oldRoot, _ := ca(t, "S")
				b := newBench(t, func(s *rehearsal.Spec) {
					if row.mesh != nil {
						row.mesh(s)
					}
					if s.Source == mesh.CASelfSigned {
						s.CA = oldRoot
					}
				})
				if row.prepare != nil {
					row.prepare(b)
				}
				s, err := b.collector().Collect(b.ctx)
				if err != nil {
					t.Fatal(err)
				}
				s.Gaps = nil
				b.config.Strategy, b.config.Reason, b.config.TrustFileWait = row.strategy, rotation.Compromised, 2*time.Minute
				plan := rotation.NewPlan(s, b.config)
				all := strings.Join(plan.Exposed, "\n")
				if row.because != "" {
					if plan.Strategy != "" || len(plan.Steps) > 0 || !slices.ContainsFunc(plan.Refusals, func(r rotation.Refusal) bool {
						return strings.Contains(r.Why, row.because) && r.Hint != ""
					}) {
						t.Errorf("%s: %v", plan.Strategy, plan.Refusals)
					}
					return
				}
				if len(plan.Refusals) > 0 || plan.Strategy == "" || row.strategy != "" && plan.Strategy != row.strategy {
					t.Fatalf("%s: %v", plan.Strategy, plan.Refusals)
				}
				for _, want := range []string{"until " + string(row.end) + " is proven", "connections that are open", "nothing is revoked", "meshca-staged until 'kubectl meshca retire'"} {
					if !strings.Contains(all, want) {
						t.Errorf("it does not say %q: %s", want, all)
					}
				}
				if !slices.Contains(plan.Phases(), row.end) {
					t.Errorf("%s has no phase %s", plan.Strategy, row.end)
				}
				if strings.Contains(all, "istio-ca-secret") != plan.Adopts {
					t.Errorf("of the pair's own Secret: %s", all)
				}
				if most := plan.Cost.LongestWait + plan.Cost.FileWaits; most > row.most {
					t.Errorf("it is exposed for up to %s", most)
				}
			})
		})
	}
}
