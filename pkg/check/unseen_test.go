package check_test

import (
	"slices"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// A Gap is either in the way of a gate, or said to be not seen: never neither, and
// never both.
func TestEveryGapIsSaid(t *testing.T) {
	for _, resource := range []string{"pods", "deployments", "configmaps", "namespaces", "secrets", "services", "workloadentries", "nodes", "nodes lost", "leases", "replicasets", "jobs", "mutatingwebhookconfigurations", "anything", ""} {
		w := newWorld(t)
		verb := "list"
		if resource == "nodes lost" { // their list was allowed, and did not come
			resource, verb = "nodes", ""
		}
		w.s.Gaps = []mesh.Gap{{Part: "a part", Verb: verb, Resource: resource, Error: "forbidden"}}
		expect, _ := rotation.Present(w.s)
		blocked := len(expect.Judge(w.s, nil).Blockers) > 0
		unseen := check.NotSeen(w.s)
		if blocked == (len(unseen) > 0) {
			t.Errorf("%s: in the way %t, not seen %v", resource, blocked, unseen)
		}
		for _, u := range unseen {
			if u.Part != "a part" || u.Error != "forbidden" || u.Adds == "" || u.Adds == "more about the mesh" {
				t.Errorf("%s: %+v", resource, u)
			}
		}
	}
}

// Another cluster of the mesh, and an istiod that was left out, are no part of what was
// looked at: a verdict without them says so.
func TestWhatIsElsewhereIsSaid(t *testing.T) {
	w := newWorld(t)
	if got := check.NotSeen(w.s); got != nil {
		t.Fatalf("%v", got)
	}
	w.s.Remotes = []mesh.Remote{{Kind: "remote-secret", Namespace: "istio-system", Name: "istio-remote-secret-west"}, {Kind: "mesh-networks", Namespace: "istio-system", Name: "west"}}
	w.s.LeftOut = []string{"istio-system/istiod-canary"}
	var parts []string
	for _, u := range check.NotSeen(w.s) {
		if u.Error == "" || u.Adds == "" {
			t.Errorf("%+v", u)
		}
		parts = append(parts, u.Part)
	}
	want := []string{"remote-secret istio-system/istio-remote-secret-west", "mesh-networks istio-system/west", "istiod istio-system/istiod-canary"}
	if !slices.Equal(parts, want) {
		t.Errorf("%q", parts)
	}
}
