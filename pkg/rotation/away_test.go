package rotation_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// away are the ways in which an API server, or what stands before it, is not there.
var away = map[string]error{
	"refused":      &url.Error{Op: "Get", URL: "https://10.0.0.1", Err: syscall.ECONNREFUSED},
	"busy":         apierrors.NewTooManyRequests("slow down", 1),
	"unavailable":  apierrors.NewServiceUnavailable("not ready"),
	"bad gateway":  &apierrors.StatusError{ErrStatus: metav1.Status{Code: 502, Message: "bad gateway"}},
	"etcd changes": apierrors.NewInternalError(errors.New("etcdserver: leader changed")),
	"timeout":      apierrors.NewTimeoutError("too slow", 1),
}

// afterPlan calls f once the first plan is made: what fails from then on fails the
// engine.
func (b *bench) afterPlan(f func()) {
	emit, once := b.engine.Emit, sync.OnceFunc(f)
	b.engine.Emit = func(e rotation.Event) {
		if emit(e); e.Kind == rotation.EventPlan {
			once()
		}
	}
}

func (b *bench) said(kind rotation.EventKind, text string) bool {
	return slices.ContainsFunc(b.events, func(e rotation.Event) bool { return e.Kind == kind && strings.Contains(e.Message, text) })
}

// B: wherever in a rotation the API server goes away for some calls in a row, the run
// waits, says why, and ends right; no call is one that a run dies of.
func TestAwayAnywhere(t *testing.T) {
	reasons := make([]string, 0, len(away))
	for name := range away {
		reasons = append(reasons, name)
	}
	slices.Sort(reasons)
	total := 0
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.engine.Baseline, b.engine.Timeout = 5*time.Second, 10*time.Minute
		b.afterPlan(func() { total = -b.mesh.Calls() })
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		total += b.mesh.Calls()
	})
	if total < 100 {
		t.Fatalf("a rotation of %d calls", total)
	}
	step := total/12 + 1
	if testing.Short() {
		step *= 3
	}
	for i, skip := 0, 0; skip < total; i, skip = i+1, skip+step {
		reason := reasons[i%len(reasons)]
		t.Run(fmt.Sprintf("%d/%s", skip, reason), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				b.engine.Baseline, b.engine.Timeout = 5*time.Second, 10*time.Minute
				b.afterPlan(func() { b.mesh.Inject(rehearsal.Fault{Skip: skip, Times: 6, Err: away[reason]}) })
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				b.whole()
				b.ended()
			})
		})
	}
}

// B: what is asked before the first write is waited for by name, and an API server that
// stays away ends the run with its time, with nothing broken.
func TestAwayUntilTheTimeout(t *testing.T) {
	for _, row := range []struct {
		verb, resource string
		skip           int
	}{
		{"get", "leases", 0}, {"update", "leases", 1}, {"get", "secrets", 0}, {"get", "secrets", 2}, {"create", "secrets", 0}, {"update", "secrets", 1},
		{"get", "configmaps", 0}, {"create", "configmaps", 0}, {"patch", "configmaps", 2}, {"list", "pods", 8}, {"list", "deployments", 8},
	} {
		t.Run(fmt.Sprintf("%s %s after %d", row.verb, row.resource, row.skip), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				b.engine.Baseline, b.engine.Timeout = 5*time.Second, 5*time.Minute
				began := time.Now()
				b.afterPlan(func() {
					b.mesh.Inject(rehearsal.Fault{Verb: row.verb, Resource: row.resource, Skip: row.skip, Times: -1, Err: away["refused"]})
				})
				err := b.run()
				var gate *rotation.GateError
				if timedOut := errors.As(err, &gate) && gate.TimedOut; !timedOut && !errors.Is(err, rotation.ErrAway) {
					t.Fatalf("it ends with %v", err)
				}
				if took := time.Since(began); took < 5*time.Minute || took > 6*time.Minute {
					t.Errorf("it is given up after %s", took)
				}
				if gate == nil && !b.said(rotation.EventWait, "connection refused") {
					t.Error("nobody is told why it waits")
				}
				b.whole()
				b.mesh.Mend()
				b.engine.Timeout = 10 * time.Minute
				if err := b.run(); err != nil {
					t.Fatalf("it does not go on: %v", err)
				}
				b.whole()
				b.ended()
			})
		})
	}
}

// B: what the API server says no to is not asked again.
func TestNoIsNoOutage(t *testing.T) {
	no := schema.GroupResource{Resource: "secrets"}
	for name, refusal := range map[string]error{
		"forbidden": apierrors.NewForbidden(no, "meshca-staged", errors.New("no role")),
		"not found": apierrors.NewNotFound(no, "meshca-staged"),
		"invalid":   apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "meshca-staged", nil),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				b.engine.Timeout = 10 * time.Minute
				began := time.Now()
				b.afterPlan(func() { b.mesh.Inject(rehearsal.Fault{Verb: "create", Resource: "secrets", Times: -1, Err: refusal}) })
				if err := b.run(); !errors.Is(err, refusal) || errors.Is(err, rotation.ErrAway) {
					t.Errorf("it ends with %v", err)
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("it is asked again for %s", took)
				}
				b.whole()
			})
		})
	}
}
