package restart

import (
	"context"

	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
)

// API servers have policy/v1's PodDisruptionBudget from 1.21 on, its Eviction from 1.22
// on, and policy/v1beta1's before that (Kubernetes' CHANGELOG-1.21.md and -1.22.md, API
// changes). Under the meshes of before Istio 1.13 there may be such ones.

// budgets lists them as the API server has them.
func budgets(ctx context.Context, kube kubernetes.Interface, namespace string, o metav1.ListOptions) (runtime.Object, error) {
	all, err := kube.PolicyV1().PodDisruptionBudgets(namespace).List(ctx, o)
	if !apierrors.IsNotFound(err) { // a namespace that is not there has an empty list
		return all, err
	}
	return kube.PolicyV1beta1().PodDisruptionBudgets(namespace).List(ctx, o)
}

// budgetOf is an object as policy/v1 would have it. There an empty selector selects
// everything, in policy/v1beta1 nothing (Kubernetes' deprecation guide, 1.25).
func budgetOf(object runtime.Object) (*policyv1.PodDisruptionBudget, bool) {
	switch p := object.(type) {
	case *policyv1.PodDisruptionBudget:
		return p, true
	case *policyv1beta1.PodDisruptionBudget:
		selector := p.Spec.Selector
		if selector != nil && len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
			selector = nil
		}
		return &policyv1.PodDisruptionBudget{ObjectMeta: p.ObjectMeta, Spec: policyv1.PodDisruptionBudgetSpec{Selector: selector}, Status: policyv1.PodDisruptionBudgetStatus{
			ObservedGeneration: p.Status.ObservedGeneration, ExpectedPods: p.Status.ExpectedPods, DesiredHealthy: p.Status.DesiredHealthy,
			CurrentHealthy: p.Status.CurrentHealthy, DisruptionsAllowed: p.Status.DisruptionsAllowed, Conditions: p.Status.Conditions,
		}}, true
	}
	return nil, false
}

// ask asks for a pod's eviction. An API server that has no such kind calls the request a
// bad one; whether the older kind was, its answer says.
func ask(ctx context.Context, kube kubernetes.Interface, pod metav1.ObjectMeta, how *metav1.DeleteOptions) error {
	err := kube.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{ObjectMeta: pod, DeleteOptions: how})
	if !apierrors.IsBadRequest(err) {
		return err
	}
	older := kube.PolicyV1beta1().Evictions(pod.Namespace).Evict(ctx, &policyv1beta1.Eviction{ObjectMeta: pod, DeleteOptions: how})
	if apierrors.IsNotFound(older) { // of the kind, or of a pod: the first answer counts
		return err
	}
	return older
}
