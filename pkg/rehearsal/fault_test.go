package rehearsal_test

import (
	"errors"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A watch may be refused, or be closed by the server at once; mended, it stays open.
func TestClosedWatch(t *testing.T) {
	d, err := rehearsal.Demo(t.Context(), rehearsal.NewPaced(time.Unix(1e9, 0), 1), "hot")
	if err != nil {
		t.Fatal(err)
	}
	pods := d.Mesh.Kube.CoreV1().Pods("web")
	d.Mesh.Inject(rehearsal.Fault{Verb: "watch", Resource: "pods", Err: rehearsal.ErrWatchClosed, Lost: true})
	w, err := pods.Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, open := <-w.ResultChan(); open {
		t.Error("the watch is open")
	}
	d.Mesh.Inject(rehearsal.Fault{Verb: "watch", Resource: "pods", Err: rehearsal.ErrWatchClosed})
	if _, err := pods.Watch(t.Context(), metav1.ListOptions{}); !errors.Is(err, rehearsal.ErrWatchClosed) {
		t.Errorf("it is not refused: %v", err)
	}
	d.Mesh.Mend()
	if w, err = pods.Watch(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	select {
	case _, open := <-w.ResultChan():
		if !open {
			t.Error("a watch that nothing is wrong with is closed")
		}
	default:
	}
}
