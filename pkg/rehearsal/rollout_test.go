package rehearsal_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A restart that is asked for once more while the first is under way, as where its answer
// was lost, leaves as many istiods as there are to be, and a rollout that ends.
func TestOneRolloutTakesOverFromAnother(t *testing.T) {
	for between := range 7 {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer synctest.Wait()
			defer cancel()
			clock := rehearsal.NewPaced(time.Now(), 1)
			go clock.Run(ctx, wall{})
			d, err := rehearsal.Demo(ctx, clock, "hot")
			if err != nil {
				t.Fatal(err)
			}
			deployments := d.Mesh.Kube.AppsV1().Deployments("istio-system")
			for n := range 2 {
				patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"%d"}}}}}`, n)
				if _, err := deployments.Patch(ctx, "istiod", types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
					t.Fatal(err)
				}
				<-clock.After(time.Duration(between) * time.Second)
			}
			<-clock.After(time.Minute)
			pods, err := d.Mesh.Kube.CoreV1().Pods("istio-system").List(ctx, metav1.ListOptions{LabelSelector: "istio=pilot"})
			if err != nil {
				t.Fatal(err)
			}
			deployment, err := deployments.Get(ctx, "istiod", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if want := *deployment.Spec.Replicas; len(pods.Items) != int(want) || deployment.Status.UpdatedReplicas != want || deployment.Status.ObservedGeneration != deployment.Generation {
				t.Errorf("%d seconds between: %d of %d istiods, %+v", between, len(pods.Items), want, deployment.Status)
			}
		})
	}
}
