package rotation

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// lastApplied repeats a Secret's entries, the key among them.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// object names the CA Secret for people.
func (p *Plan) object() string { return "secret " + p.Namespace + "/" + p.Secret }

// read reads the CA Secret.
func (p *Plan) read(ctx context.Context, kube kubernetes.Interface) (*corev1.Secret, error) {
	secret, err := kube.CoreV1().Secrets(p.Namespace).Get(ctx, p.Secret, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", p.object(), err)
	}
	return secret, nil
}

// standing is where the CA Secret stands in the plan, and what is written from.
// staged is what an earlier run kept, or nil: then the Secret holds the old CA.
func (p *Plan) standing(ctx context.Context, kube kubernetes.Interface, staged *Staged) (secret *corev1.Secret, m *material, at int, err error) {
	if secret, err = p.read(ctx, kube); err != nil {
		return nil, nil, start, err
	}
	old := secret.Data
	if staged != nil {
		old = staged.Old
	}
	if m, err = newMaterial(p.Layout, old, p.config.New); err != nil {
		return nil, nil, start, err
	}
	at, ok := m.position(p.Steps, secret.Data)
	if !ok {
		return nil, nil, start, fmt.Errorf("%w: %s holds neither the CA of the start nor that of any phase", ErrForeign, p.object())
	}
	return secret, m, at, nil
}

// update writes the CA Secret in place, at the version that was read.
func (p *Plan) update(ctx context.Context, kube kubernetes.Interface, secret *corev1.Secret, entries map[string][]byte, dryRun ...string) error {
	secret.Data = entries
	delete(secret.Annotations, lastApplied)
	if _, err := kube.CoreV1().Secrets(p.Namespace).Update(ctx, secret, metav1.UpdateOptions{FieldManager: fieldManager, DryRun: dryRun}); err != nil {
		return fmt.Errorf("writing %s: %w", p.object(), err)
	}
	return nil
}
