package restart

import (
	"context"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// readBudgets reads the budgets anew where something is about to begin: since the
// plan was made others may have taken what they can spare.
func (w *wave) readBudgets(ctx context.Context) {
	w.budgets, w.budgetsErr = nil, nil
	namespaces := map[Ref]bool{}
	for _, m := range w.moves {
		if m.state == Waiting {
			namespaces[Ref{Kind: budgetKind, Namespace: m.target.Namespace}] = true
		}
	}
	i := NewInventory()
	if w.budgetsErr = i.list(ctx, w.Kube, namespaces); w.budgetsErr != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(i.budgets)) {
		w.budgets = append(w.budgets, i.budgets[name])
	}
}

// room says why m may not begin now, or "": every budget over its pods must be able
// to spare as many as it may take away, beside those that the others of this wave
// may. What these have taken away already is counted twice, which only waits longer.
func (w *wave) room(m *move) string {
	away := m.target.Unavailable
	if away == 0 {
		return ""
	}
	if w.budgetsErr != nil {
		return "its budgets could not be read: " + w.budgetsErr.Error()
	}
	for _, b := range w.budgets {
		if !b.covers(m.target.Namespace, m.target.labels) {
			continue
		}
		if b.unknown != "" {
			return fmt.Sprintf("poddisruptionbudget %s: %s", b.ref(), b.unknown)
		}
		taken := 0
		for _, other := range w.moves {
			if other != m && other.state == Restarting && b.covers(other.target.Namespace, other.target.labels) {
				taken += other.target.Unavailable
			}
		}
		if b.now()-taken < away {
			return fmt.Sprintf("%s: %d serve now, and this may take %d away", b, b.healthy, away)
		}
	}
	return ""
}

// read is a target's controller as it is now.
func (w *wave) read(ctx context.Context, ref Ref) (Controller, error) {
	var object runtime.Object
	var err error
	switch ref.Kind {
	case "Deployment":
		object, err = w.Kube.AppsV1().Deployments(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	case "StatefulSet":
		object, err = w.Kube.AppsV1().StatefulSets(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	case "DaemonSet":
		object, err = w.Kube.AppsV1().DaemonSets(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	case "ReplicaSet":
		object, err = w.Kube.AppsV1().ReplicaSets(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	case "ReplicationController":
		object, err = w.Kube.CoreV1().ReplicationControllers(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	}
	if err != nil {
		_, resource := lister(w.Kube, Ref{Kind: ref.Kind})
		return Controller{}, permission(err, "get", resource, ref.Namespace)
	}
	c, _ := newController(object)
	return c, nil
}
