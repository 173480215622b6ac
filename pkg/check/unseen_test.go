package check_test

import (
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

func TestUnusableIdentities(t *testing.T) {
	w := newWorld(t)
	if got := check.Unusable(w.s); got != nil {
		t.Errorf("%v", got)
	}
	w.s.Proxies[1].Loaded.Identities[0].State = "Unavailable"
	got := check.Unusable(w.s)
	if len(got) != 1 || got[0].Object != w.s.Proxies[1].Ref() || got[0].Kind != "proxy" || got[0].Unknown {
		t.Errorf("%v", got)
	}
	w.s.Proxies[1].Loaded = nil // the gate names it
	if got := check.Unusable(w.s); got != nil {
		t.Errorf("%v", got)
	}
}
