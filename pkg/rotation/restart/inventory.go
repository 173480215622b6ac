package restart

import (
	"context"
	"maps"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"
)

// Inventory holds what the cluster says about the workloads to restart.
type Inventory struct {
	controllers map[Ref]Controller
	budgets     map[string]Budget
}

// NewInventory takes Deployments, StatefulSets, DaemonSets, ReplicaSets,
// ReplicationControllers and PodDisruptionBudgets, and leaves out anything else.
func NewInventory(objects ...runtime.Object) *Inventory {
	i := &Inventory{controllers: map[Ref]Controller{}, budgets: map[string]Budget{}}
	for _, o := range objects {
		i.add(o)
	}
	return i
}

func (i *Inventory) add(object runtime.Object) {
	if p, ok := budgetOf(object); ok {
		b := newBudget(p)
		i.budgets[b.ref()] = b
	} else if c, ok := newController(object); ok {
		i.controllers[c.Ref] = c
	}
}

// Read lists what these proxies' workloads need to be known by: each kind once in
// each namespace, page by page, and only the kinds that are there. A list that is
// not allowed is a PermissionError: without it nothing can be planned.
func Read(ctx context.Context, kube kubernetes.Interface, proxies []mesh.Proxy) (*Inventory, error) {
	i := NewInventory()
	kinds := map[Ref]bool{} // by kind and namespace
	for _, p := range proxies {
		if kind := workloadOf(p, nil).Kind; listable(kind) {
			kinds[Ref{Kind: kind, Namespace: p.Namespace}] = true
			kinds[Ref{Kind: budgetKind, Namespace: p.Namespace}] = true
		}
	}
	if err := i.list(ctx, kube, kinds); err != nil {
		return nil, err
	}
	// Pods say "Deployment" by their labels; where there is none, their ReplicaSet
	// was left behind without one.
	orphans := map[Ref]bool{}
	for _, p := range proxies {
		if ref := workloadOf(p, i); ref.Kind == "ReplicaSet" && !kinds[Ref{Kind: ref.Kind, Namespace: ref.Namespace}] {
			orphans[Ref{Kind: ref.Kind, Namespace: ref.Namespace}] = true
		}
	}
	if err := i.list(ctx, kube, orphans); err != nil {
		return nil, err
	}
	return i, nil
}

const budgetKind = "PodDisruptionBudget"

func (i *Inventory) list(ctx context.Context, kube kubernetes.Interface, kinds map[Ref]bool) error {
	for _, k := range slices.SortedFunc(maps.Keys(kinds), compare) {
		page, resource := lister(kube, k)
		err := pager.New(page).EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error { i.add(o); return nil })
		if err != nil {
			return permission(err, "list", resource, k.Namespace)
		}
	}
	return nil
}

func lister(kube kubernetes.Interface, k Ref) (pager.ListPageFunc, string) {
	switch k.Kind {
	case "Deployment":
		return func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return kube.AppsV1().Deployments(k.Namespace).List(ctx, o)
		}, "deployments.apps"
	case "StatefulSet":
		return func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return kube.AppsV1().StatefulSets(k.Namespace).List(ctx, o)
		}, "statefulsets.apps"
	case "DaemonSet":
		return func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return kube.AppsV1().DaemonSets(k.Namespace).List(ctx, o)
		}, "daemonsets.apps"
	case "ReplicaSet":
		return func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return kube.AppsV1().ReplicaSets(k.Namespace).List(ctx, o)
		}, "replicasets.apps"
	case "ReplicationController":
		return func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return kube.CoreV1().ReplicationControllers(k.Namespace).List(ctx, o)
		}, "replicationcontrollers"
	}
	return func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return budgets(ctx, kube, k.Namespace, o)
	}, "poddisruptionbudgets.policy"
}

// listable are the kinds whose pods can be replaced from here.
func listable(kind string) bool {
	return slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController"}, kind)
}

// workloadOf is the controller to restart a proxy by. An Argo Rollout's pods are
// replaced through their ReplicaSet: some releases of its controller delete pods
// without asking a budget when told to restart them (argo-rollouts
// rollout/restart.go), and an eviction asks. So is a ReplicaSet that no Deployment
// owns any more, where i is known and has none.
func workloadOf(p mesh.Proxy, i *Inventory) Ref {
	ref := Ref{Kind: p.Workload.Kind, Namespace: p.Namespace, Name: p.Workload.Name}
	label := ""
	switch {
	case ref.Kind == "Rollout":
		label = "rollouts-pod-template-hash"
	case ref.Kind == "Deployment" && i != nil:
		if _, ok := i.controllers[ref]; !ok {
			label = "pod-template-hash"
		}
	}
	if hash := p.Labels[label]; label != "" && hash != "" {
		return Ref{Kind: "ReplicaSet", Namespace: p.Namespace, Name: ref.Name + "-" + hash}
	}
	return ref
}

// covering are the budgets that protect pods with any of these sets of labels.
func (i *Inventory) covering(namespace string, sets []map[string]string) (all []Budget) {
	for _, name := range slices.Sorted(maps.Keys(i.budgets)) {
		if b := i.budgets[name]; b.covers(namespace, sets) {
			all = append(all, b)
		}
	}
	return all
}
