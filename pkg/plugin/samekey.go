package plugin

import (
	"context"
	"crypto"
	"errors"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"k8s.io/client-go/kubernetes"
)

// keepsKey: without a CA named, these strategies certify the mesh's own root anew.
func (o *rotateOptions) keepsKey() bool {
	return o.strategy == string(rotation.SameKey) || o.strategy == string(rotation.Recover)
}

// keyHolds refuses to certify a leaked key anew.
func (o *rotateOptions) keyHolds() error {
	if o.reason == string(rotation.Compromised) {
		return found(errors.New("refused: whoever has the leaked key has the new certificate's too"), "name a CA of another key: --new-ca, or --root, --ca-cert, --ca-key and --chain")
	}
	return nil
}

// renewed is the mesh's CA with its root certified anew.
func (o *rotateOptions) renewed(ctx context.Context, kube kubernetes.Interface, s *mesh.Snapshot, now time.Time) (*pki.Authority, error) {
	if err := o.keyHolds(); err != nil {
		return nil, err
	}
	var key crypto.Signer
	if o.oldRootKey != "" {
		var err error
		if key, err = o.oldKey(); err != nil {
			return nil, err
		}
	}
	ca, err := rotation.Renewed(ctx, kube, s, key, now)
	if errors.Is(err, rotation.ErrNoRootKey) {
		return nil, found(err, "give the root's key with --old-root-key FILE, or a new CA: --new-ca, or --root, --ca-cert, --ca-key and --chain")
	}
	if err != nil {
		return nil, explain(err)
	}
	return ca, nil
}
