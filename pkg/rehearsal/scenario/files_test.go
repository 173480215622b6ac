package scenario_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// Who reads the files that an agent writes follows in his own time, though its Envoy has
// followed a push long before: its pods are restarted for the roots and for the certificate
// that the next phase rests on, and no other.
func TestFilesForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, beside(rehearsal.Workload{Env: map[string]string{"OUTPUT_CERTS": "/etc/istio-output-certs"}}))
		for _, way := range []struct {
			back bool
			want []string
		}{
			{false, []string{"trust-new/both roots", "sign-new/leaves"}},
			{true, []string{"sign-new/both roots again", "trust-new/old leaves"}},
		} {
			var restarted []string
			b.trial.Emit = func(e rotation.Event) {
				if e.Kind == rotation.EventWorkload && strings.Contains(e.Message, " restarted") {
					restarted = append(restarted, string(e.Phase)+"/"+e.Step)
					if !strings.Contains(e.Object, "other") {
						t.Errorf("it restarts %s", e.Object)
					}
				}
			}
			b.trial.Back = way.back
			out := b.trial.Run(b.ctx)
			if out.Err != nil {
				t.Fatalf("back %t: it ends with %v", way.back, out.Err)
			}
			if out.Plan.Strategy != rotation.BundleByRestart || strings.Join(restarted, ", ") != strings.Join(way.want, ", ") {
				t.Errorf("back %t: %s restarts in %v, not in %v", way.back, out.Plan.Strategy, restarted, way.want)
			}
			if cost := out.Plan.Cost.WorkloadRestarts; !way.back && cost != 4 {
				t.Errorf("the plan says that %d pods are restarted, and 2 are twice", cost)
			}
			if failed := b.failed(); len(failed) > 0 {
				t.Error(failed[0])
			}
		}
	})
}
