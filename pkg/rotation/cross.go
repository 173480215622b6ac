package rotation

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// CrossSigned is the new root as certified by the old one, where the old root's own
// key is in the cluster: on self-signed meshes, and where a root signs leaves
// itself. It is nil where it is not. The key leaves this function only in the
// signature.
func CrossSigned(ctx context.Context, kube kubernetes.Interface, s *mesh.Snapshot, root *pki.Certificate, now time.Time) (*pki.Certificate, error) {
	if len(s.ControlPlanes) == 0 {
		return nil, nil
	}
	ca := s.ControlPlanes[0].CA
	if len(ca.Cert.Certs) == 0 || !ca.Root.Set().Has(ca.Cert.Certs[0]) || ca.Root.Set().Has(root) {
		return nil, nil // an intermediate signs, or the root stays
	}
	if old := ca.Cert.Certs[0].X509; old == nil || root.X509 == nil || bytes.Equal(old.RawSubject, root.X509.RawSubject) || !now.Before(old.NotAfter) {
		return nil, nil // it can vouch for nobody: the plan says why
	}
	name := pki.KeyFile
	if layout, ok := mesh.LayoutOf(ca.Kind); ok {
		name = layout.Key
	} else if ca.Kind != mesh.CASelfSigned {
		return nil, nil
	}
	secret, err := kube.CoreV1().Secrets(ca.Namespace).Get(ctx, ca.Secret, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading secret %s/%s: %w", ca.Namespace, ca.Secret, err)
	}
	key, err := pki.ParseKey(secret.Data[name])
	if err != nil {
		return nil, fmt.Errorf("secret %s/%s, %s: %w", ca.Namespace, ca.Secret, name, err)
	}
	cross, err := (&pki.Authority{Cert: ca.Cert.Certs[0], Key: key}).CrossSign(root, now)
	if err != nil {
		return nil, fmt.Errorf("cross-signing with the key of secret %s/%s: %w", ca.Namespace, ca.Secret, err)
	}
	return cross, nil
}
