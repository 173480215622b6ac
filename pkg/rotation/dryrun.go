package rotation

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// DryRun sends the next write of a plan to the API server, which judges it (roles,
// admission, quotas) and keeps nothing. It returns the step that would come next,
// false where none is left.
func DryRun(ctx context.Context, kube kubernetes.Interface, plan *Plan, staged *Staged) (Step, bool, error) {
	object := "secret " + plan.Namespace + "/" + plan.Secret
	secret, err := kube.CoreV1().Secrets(plan.Namespace).Get(ctx, plan.Secret, metav1.GetOptions{})
	if err != nil {
		return Step{}, false, fmt.Errorf("reading %s: %w", object, err)
	}
	old := secret.Data
	if staged != nil {
		old = staged.Old
	}
	m, err := newMaterial(plan.Layout, old, plan.config.New)
	if err != nil {
		return Step{}, false, err
	}
	at, ok := m.position(plan.Steps, secret.Data)
	if !ok {
		return Step{}, false, fmt.Errorf("%w: %s", ErrForeign, object)
	}
	if at+1 >= len(plan.Steps) {
		return Step{}, false, nil
	}
	next := plan.Steps[at+1]
	secret.Data = m.entries(next, next.Roots)
	delete(secret.Annotations, lastApplied)
	if _, err := kube.CoreV1().Secrets(plan.Namespace).Update(ctx, secret, metav1.UpdateOptions{FieldManager: fieldManager, DryRun: []string{metav1.DryRunAll}}); err != nil {
		return next, true, fmt.Errorf("the API server would not take %s: %w", object, err)
	}
	return next, true, nil
}
