package rotation

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// lastApplied repeats a Secret's entries, the key among them.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// object names the CA Secret for people.
func (p *Plan) object() string { return "secret " + p.Namespace + "/" + p.Secret }

// read reads the CA Secret; nil where it is to be made and is not there yet.
func (p *Plan) read(ctx context.Context, kube kubernetes.Interface) (*corev1.Secret, error) {
	secret, err := kube.CoreV1().Secrets(p.Namespace).Get(ctx, p.Secret, metav1.GetOptions{})
	if p.Adopts && apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", p.object(), err)
	}
	return secret, nil
}

// entriesOf are a Secret's, nil where there is none.
func entriesOf(secret *corev1.Secret) map[string][]byte {
	if secret == nil {
		return nil
	}
	if secret.Data == nil {
		return map[string][]byte{}
	}
	return secret.Data
}

// materialOf is what the plan is written from. staged is what an earlier run kept, or
// nil: then the old CA is read.
func (p *Plan) materialOf(ctx context.Context, kube kubernetes.Interface, secret *corev1.Secret, staged *Staged) (*material, error) {
	if staged != nil {
		return newMaterial(p.Layout, staged.Old, p.config.New)
	}
	old, source := entriesOf(secret), secret
	if p.Adopts {
		var err error
		if source, err = kube.CoreV1().Secrets(p.Namespace).Get(ctx, p.source, metav1.GetOptions{}); err != nil {
			return nil, fmt.Errorf("reading secret %s/%s: %w", p.Namespace, p.source, err)
		}
		old = adopted(source.Data)
	}
	// Somebody was asked meanwhile. What istiods have not loaded no gate would show, and it
	// would be kept, and written, as the old CA.
	if !sameCA(p.ca, sourceOf(p.ca.Kind, source)) {
		return nil, fmt.Errorf("%w: secret %s/%s is not what it was when this was planned", ErrForeign, p.Namespace, p.source)
	}
	return newMaterial(p.Layout, old, p.config.New)
}

// standing is where the CA Secret stands in the plan, or on its way back, and what
// is written from.
func (p *Plan) standing(ctx context.Context, kube kubernetes.Interface, staged *Staged, back bool) (secret *corev1.Secret, m *material, at place, err error) {
	if secret, err = p.read(ctx, kube); err != nil {
		return nil, nil, at, err
	}
	if m, err = p.materialOf(ctx, kube, secret, staged); err != nil {
		return nil, nil, at, err
	}
	where := m.forward
	if back {
		where = m.backward
	}
	at, ok := where(p, entriesOf(secret))
	if !ok {
		return nil, nil, at, fmt.Errorf("%w: %s holds neither the CA of the start nor that of any phase", ErrForeign, p.object())
	}
	return secret, m, at, nil
}

// update writes the CA Secret in place, at the version that was read, or makes it
// where there is none.
func (p *Plan) update(ctx context.Context, kube kubernetes.Interface, secret *corev1.Secret, entries map[string][]byte, dryRun ...string) error {
	secrets := kube.CoreV1().Secrets(p.Namespace)
	if secret == nil {
		made := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: p.Secret, Labels: labels("")}, Type: corev1.SecretTypeOpaque, Data: entries}
		if _, err := secrets.Create(ctx, made, metav1.CreateOptions{FieldManager: fieldManager, DryRun: dryRun}); err != nil {
			return fmt.Errorf("making %s: %w", p.object(), err)
		}
		return nil
	}
	secret.Data = entries
	delete(secret.Annotations, lastApplied)
	if _, err := secrets.Update(ctx, secret, metav1.UpdateOptions{FieldManager: fieldManager, DryRun: dryRun}); err != nil {
		return fmt.Errorf("writing %s: %w", p.object(), err)
	}
	return nil
}
