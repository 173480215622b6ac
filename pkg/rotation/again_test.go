package rotation_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The same rotation once more, of a CA that was put back by hand: what its
// journal knows of steps is of the first time, and says nothing of this one.
func TestAgainWithTheSameFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, mixed)
		b.config.Strategy, b.engine.Timeout = rotation.BundleByRestart, 3*24*time.Hour
		secrets := b.mesh.Kube.CoreV1().Secrets("istio-system")
		before, err := secrets.Get(b.ctx, "cacerts", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b.engine.Until, b.engine.Accept = rotation.TrustNew, map[string]string{"a/gone": "its node is gone"}
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		all, err := rotation.Journals(b.ctx, b.mesh.Kube, "istio-system")
		if err != nil || len(all) != 1 || len(all[0].Published) == 0 || len(all[0].Proven) == 0 {
			t.Fatalf("%+v, %v", all, err)
		}
		if err := secrets.Delete(b.ctx, "meshca-staged", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		now, err := secrets.Get(b.ctx, "cacerts", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		now.Data = before.Data
		if _, err := secrets.Update(b.ctx, now, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		again := time.Now()
		b.engine.Accept = nil
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		all, err = rotation.Journals(b.ctx, b.mesh.Kube, "istio-system")
		if err != nil || len(all) != 1 {
			t.Fatalf("%+v, %v", all, err)
		}
		for what, times := range map[string]map[string]time.Time{"published": all[0].Published, "proven": all[0].Proven, "restarted": all[0].Restarted} {
			for step, at := range times {
				if at.Before(again.Truncate(time.Second)) {
					t.Errorf("%s was %s at %s, before this rotation began at %s", step, what, at, again)
				}
			}
		}
		if len(all[0].Accepted) > 0 || len(all[0].Runs) != 2 {
			t.Errorf("accepted %v, %d runs", all[0].Accepted, len(all[0].Runs))
		}
		b.whole()
	})
}
