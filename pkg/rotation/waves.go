package rotation

import (
	"context"
	"errors"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

func (r *run) waves(ctx context.Context, step Step, behind []mesh.Proxy) error {
	return errors.New("waves: not joined yet")
}
