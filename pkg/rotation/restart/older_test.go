package restart_test

import (
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rotation/restart"
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8stesting "k8s.io/client-go/testing"
)

// TestOlderServer: API servers of before 1.22 and 1.21 have no policy/v1 to evict by and
// to read budgets of.
func TestOlderServer(t *testing.T) {
	older := func(p *policyv1.PodDisruptionBudget) policyv1beta1.PodDisruptionBudget {
		return policyv1beta1.PodDisruptionBudget{ObjectMeta: p.ObjectMeta, Spec: policyv1beta1.PodDisruptionBudgetSpec{Selector: p.Spec.Selector},
			Status: policyv1beta1.PodDisruptionBudgetStatus{ExpectedPods: p.Status.ExpectedPods, DesiredHealthy: p.Status.DesiredHealthy, CurrentHealthy: p.Status.CurrentHealthy, DisruptionsAllowed: p.Status.DisruptionsAllowed}}
	}
	for name, test := range map[string]struct {
		desired int
		group   string
		refused bool
	}{
		"there is room":                   {1, "x", false},
		"there is none":                   {2, "x", true},
		"an empty selector meets nothing": {2, "", false},
	} {
		for _, without := range []string{"1.20", "1.21"} {
			t.Run(name+" "+without, func(t *testing.T) {
				l := &load{kind: "ReplicaSet", namespace: "a", name: "w", group: "x", replicas: 2, needs: true}
				r := rule{namespace: "a", name: "p", group: test.group, desired: test.desired}
				var rules []rule
				if test.group != "" {
					rules = []rule{r}
				}
				w := newWorld([]*load{l}, rules)
				w.kube.PrependReactor("list", "poddisruptionbudgets", func(a k8stesting.Action) (bool, runtime.Object, error) {
					switch a.GetResource().Version {
					case "v1":
						if without == "1.20" {
							return true, nil, apierrors.NewNotFound(schema.GroupResource{}, "")
						}
						all := &policyv1.PodDisruptionBudgetList{}
						if test.group != "" {
							all.Items = append(all.Items, *w.budget(r))
						}
						return true, all, nil
					default:
						return true, &policyv1beta1.PodDisruptionBudgetList{Items: []policyv1beta1.PodDisruptionBudget{older(w.budget(r))}}, nil
					}
				})
				w.kube.PrependReactor("create", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
					create := a.(k8stesting.CreateAction)
					e, ok := create.GetObject().(*policyv1beta1.Eviction)
					if !ok {
						return true, nil, apierrors.NewBadRequest(`no kind "Eviction" is registered for version "policy/v1"`)
					}
					return w.evict(k8stesting.NewCreateSubresourceAction(a.GetResource(), e.Name, a.GetSubresource(), e.Namespace,
						&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name}, DeleteOptions: e.DeleteOptions}))
				})
				plan := planOf(t, w, restart.Config{})
				if refused := len(plan.Left) > 0; refused != test.refused {
					t.Fatalf("%+v", plan)
				}
				if test.refused {
					return
				}
				runner := &restart.Runner{Kube: w.kube, Clock: w, Emit: func(restart.Progress) {}}
				if _, err := runner.Run(t.Context(), plan); err != nil || w.wrong != "" || len(w.writes) != 2 {
					t.Errorf("%v, %s, %v", err, w.wrong, w.writes)
				}
			})
		}
	}
}

// TestOlderStatefulSet: API servers of before 1.22 count no available pods of a StatefulSet,
// whose restart ends all the same.
func TestOlderStatefulSet(t *testing.T) {
	for _, onDelete := range []bool{false, true} {
		l := &load{kind: "StatefulSet", namespace: "a", name: "w", group: "x", replicas: 3, needs: true, onDelete: onDelete, uncounted: true}
		w := newWorld([]*load{l}, nil)
		runner := &restart.Runner{Kube: w.kube, Clock: w, Patience: time.Hour, Emit: func(restart.Progress) {}}
		if _, err := runner.Run(t.Context(), planOf(t, w, restart.Config{})); err != nil || w.wrong != "" || len(w.writes) == 0 {
			t.Errorf("on delete %v: %v, %s, %v", onDelete, err, w.wrong, w.writes)
		}
	}
}
