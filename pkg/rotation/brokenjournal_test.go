package rotation_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Nothing goes on from a journal: one that somebody has broken stops no rotation, no way
// back and no retire, and what it said stays to be read.
func TestBrokenJournal(t *testing.T) {
	for _, back := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, small)
			b.engine.Until = rotation.TrustNew
			if err := b.run(); err != nil {
				t.Fatal(err)
			}
			maps := b.mesh.Kube.CoreV1().ConfigMaps("istio-system")
			all, err := maps.List(b.ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=" + mesh.ManagedBy})
			if err != nil || len(all.Items) != 1 {
				t.Fatalf("%d journals: %v", len(all.Items), err)
			}
			broken := &all.Items[0]
			const text = `{"id":"who wrote`
			broken.Data["state"] = text
			if _, err := maps.Update(b.ctx, broken, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			if kept, err := rotation.ReadStaged(b.ctx, b.mesh.Kube, "istio-system"); err != nil || kept == nil || kept.Over() {
				t.Errorf("retire: %+v, %v", kept, err)
			}
			b.engine.Until, b.engine.Back, b.config.Back, b.events = "", back, back, nil
			if err := b.run(); err != nil {
				t.Fatalf("back %v: %v", back, err)
			}
			b.whole()
			if b.count(rotation.EventWarning, "cannot be read") != 1 {
				t.Error("nobody is told")
			}
			if kept, err := rotation.ReadStaged(b.ctx, b.mesh.Kube, "istio-system"); err != nil || !kept.Over() || kept.Back != back {
				t.Errorf("at the end: %+v, %v", kept, err)
			}
			now, err := maps.Get(b.ctx, broken.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if now.Data["unreadable"] != text || !strings.Contains(now.Data["log"], "trust-new") {
				t.Errorf("what it said is gone: %v", now.Data)
			}
		})
	}
}
