package rotation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Journals are the rotations that a namespace remembers, the latest last. One
// that cannot be read is named in the error, and the others are there all the
// same.
func Journals(ctx context.Context, kube kubernetes.Interface, namespace string) ([]Journal, error) {
	list, err := kube.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=" + mesh.ManagedBy})
	if err != nil {
		return nil, fmt.Errorf("listing the journals of namespace %s: %w", namespace, err)
	}
	var all []Journal
	var failure error
	for i := range list.Items {
		if !strings.HasPrefix(list.Items[i].Name, journalPrefix) {
			continue
		}
		journal, err := parseJournal(&list.Items[i])
		if err != nil {
			failure = err
			continue
		}
		all = append(all, journal)
	}
	slices.SortFunc(all, func(a, b Journal) int { return a.Started.Compare(b.Started) })
	return all, failure
}

func parseJournal(cm *corev1.ConfigMap) (Journal, error) {
	var j Journal
	if err := json.Unmarshal([]byte(cm.Data[stateEntry]), &j); err != nil {
		return j, fmt.Errorf("configmap %s/%s: %w", cm.Namespace, cm.Name, err)
	}
	return j, nil
}
