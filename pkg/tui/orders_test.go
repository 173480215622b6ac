package tui

import (
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// What has no name of its own is offered to nobody: neither by a key nor by a number.
func TestMayAccept(t *testing.T) {
	for name, row := range map[string]struct {
		blocker *rotation.Blocker
		may     bool
	}{
		"a proxy":          {&rotation.Blocker{Kind: "proxy", Object: "web/front-0", Unknown: true}, true},
		"seen to be wrong": {&rotation.Blocker{Kind: "proxy", Object: "web/front-0"}, false},
		"all pods":         {&rotation.Blocker{Kind: "reading", Object: "pods of all namespaces", Unknown: true}, false},
		"no istiod at all": {&rotation.Blocker{Kind: "istiod", Object: "none", Unknown: true}, false},
		"nothing":          {nil, false},
	} {
		if why := mayAccept(row.blocker); (why == "") != row.may {
			t.Errorf("%s: %q", name, why)
		}
	}
}
