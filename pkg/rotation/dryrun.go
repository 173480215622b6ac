package rotation

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// DryRun sends the next write of a plan to the API server, which judges it (roles,
// admission, quotas) and keeps nothing. It returns the step that would come next,
// false where none is left.
func DryRun(ctx context.Context, kube kubernetes.Interface, plan *Plan, staged *Staged) (Step, bool, error) {
	secret, m, at, err := plan.standing(ctx, kube, staged, plan.config.Back)
	if err != nil {
		return Step{}, false, err
	}
	next := at.step
	if at.written {
		next++
	}
	if next >= len(plan.Course()) {
		return Step{}, false, nil
	}
	step := plan.Course()[next]
	if err := plan.update(ctx, kube, secret, m.over(entriesOf(secret), m.entries(step, step.Roots)), metav1.DryRunAll); err != nil {
		return step, true, err
	}
	return step, true, nil
}
