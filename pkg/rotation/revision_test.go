package rotation

import (
	"slices"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// What a plan says to restart behind a step is what the engine restarts, whatever the
// waves are of; a step that restarts nobody says nothing.
func TestWorkloadsOfEachStep(t *testing.T) {
	of := func(name string, reach mesh.Reach, version string) mesh.Proxy {
		return mesh.Proxy{Namespace: "a", Name: name + "-1", Reach: reach, Version: version, Workload: mesh.Workload{Kind: "Deployment", Name: name}}
	}
	s := &mesh.Snapshot{Proxies: []mesh.Proxy{
		of("pushed", mesh.ReachPush, "1.30.3"), of("cold", mesh.ReachRenewal, "1.30.3"), of("stale", mesh.ReachPush, "1.19.3"), of("files", mesh.ReachRestart, "1.30.3"),
	}}
	for name, test := range map[string]struct {
		step Step
		want []string
	}{
		"nobody":           {Step{}, nil},
		"stale agents":     {Step{Waves: wavesStale}, []string{"stale"}},
		"no push":          {Step{Waves: wavesLagging}, []string{"cold", "stale", "files"}},
		"nothing pushed":   {Step{Waves: wavesLagging, unpushed: true}, []string{"pushed", "cold", "stale", "files"}},
		"all":              {Step{Waves: wavesBehind}, []string{"pushed", "cold", "stale", "files"}},
		"files unfollowed": {Step{Waves: wavesMounted}, []string{"files"}},
	} {
		for _, back := range []bool{false, true} {
			test.step.Name = "step"
			p := &Plan{Steps: []Step{test.step}}
			if back {
				p = &Plan{Back: []Step{test.step}}
			}
			p.workloads(s)
			var want []string
			for _, workload := range test.want {
				want = append(want, "kubectl rollout restart deployment/"+workload+" -n a && kubectl rollout status deployment/"+workload+" -n a")
			}
			if got := p.restarts(test.step); !slices.Equal(got, want) {
				t.Errorf("%s, back %v: %q, not %q", name, back, got, want)
			}
		}
	}
}
