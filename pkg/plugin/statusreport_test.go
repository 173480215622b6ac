package plugin

import (
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// That no rotation was seen is told from that there is none.
func TestStatusOfWhatWasNotRead(t *testing.T) {
	over := []rotation.Journal{{ID: "a", Phase: rotation.Done}}
	alive := &rotation.LeaseState{Alive: true}
	for name, test := range map[string]struct {
		standing
		state rotationState
		code  int
		next  string
	}{
		"all was read":                     {standing{}, stateNone, ExitOK, "kubectl meshca check"},
		"no lease":                         {standing{leaseError: "no", refused: []string{"get leases"}}, stateUnknown, ExitError, "ask for a role that may get leases in namespace mesh: 'kubectl meshca rbac --for read -i mesh' prints it"},
		"no journals":                      {standing{journalError: "no", refused: []string{"list configmaps"}}, stateUnknown, ExitError, "ask for a role that may list configmaps in namespace mesh: 'kubectl meshca rbac --for read -i mesh' prints it"},
		"a staged secret of other content": {standing{stagedError: "no PEM"}, stateUnknown, ExitError, "mend what is named as not read, and look again"},
		"somebody runs one all the same":   {standing{journalError: "no", lease: alive}, stateRunning, ExitFindings, "kubectl meshca status --watch"},
		"one is done all the same":         {standing{stagedError: "no", journals: over}, stateDone, ExitOK, "kubectl meshca retire"},
	} {
		t.Run(name, func(t *testing.T) {
			test.snapshot, test.namespace = &mesh.Snapshot{}, "mesh"
			r := newStatusReport(test.standing)
			if code, _ := codeOf(r.failure()); r.State != test.state || r.Next != test.next || code != test.code {
				t.Errorf("%s, exit %d, next %q: want %s, exit %d, next %q", r.State, code, r.Next, test.state, test.code, test.next)
			}
			if r.summary() == "" || len(r.Back.Why) == 0 {
				t.Errorf("it says %q, and of the way back %q", r.summary(), r.Back.Why)
			}
		})
	}
}
