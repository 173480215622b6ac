package plugin

import (
	"errors"
	"fmt"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// homeOf is the namespace of the istiods, in which all is kept that a rotation keeps.
// Those of several namespaces are meshes of their own (istio.io, "Install Multiple Istio
// Control Planes in a Single Cluster"), and whose rotation is meant is not guessed.
func homeOf(s *mesh.Snapshot) (string, error) {
	home := namespacesOf(s)
	switch len(home) {
	case 0:
		return "", found(errors.New("no istiod was found"), "name its namespace with --istio-namespace")
	case 1:
		return home[0], nil
	}
	last := len(home) - 1
	return "", found(fmt.Errorf("istiods in %s and %s: name one with -i", strings.Join(home[:last], ", "), home[last]), "each namespace of istiods is a mesh of its own, with a CA of its own")
}
