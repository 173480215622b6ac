package restart

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var errReplanned = errors.New("its update strategy is no longer the one that was planned with: plan again")

var errTakenBack = errors.New("somebody took the mark back from its template while it was restarting: whoever owns it (GitOps?) must let it stand, or restart it")

// rollout marks a template and waits until its controller has followed.
func (w *wave) rollout(ctx context.Context, m *move) error {
	c, err := w.read(ctx, m.target.Ref)
	if err != nil {
		w.unread(m, err)
		return nil
	}
	if m.state == Waiting {
		switch {
		case c.way != m.target.way:
			m.fail(errReplanned)
			return nil
		case c.begun(w.Since):
			m.state, m.marked, m.detail = Restarting, c.restartedAt, "it was begun before"
		default:
			m.target.Unavailable = c.unavailable // an autoscaler may have changed what a percentage means
			if m.detail = w.room(m); m.detail != "" {
				return nil
			}
			return w.mark(ctx, m)
		}
	}
	switch {
	case c.restartedAt.Before(m.marked):
		m.fail(errTakenBack)
	case c.settled:
		m.state, m.detail = Restarted, c.progress
	case c.stalled != "":
		m.fail(errors.New(c.stalled))
	default:
		m.detail = c.progress
	}
	return nil
}

func (w *wave) mark(ctx context.Context, m *move) error {
	if w.Before != nil {
		if err := w.Before(ctx); err != nil {
			return err
		}
	}
	// Fractions of a second, so that a second restart never writes the same value.
	at := w.Clock.Now().UTC()
	patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{%q:%q}}}}}`, restartedAnnotation, at.Format(time.RFC3339Nano))
	ref, options := m.target.Ref, metav1.PatchOptions{FieldManager: w.FieldManager}
	var err error
	switch ref.Kind {
	case "Deployment":
		_, err = w.Kube.AppsV1().Deployments(ref.Namespace).Patch(ctx, ref.Name, types.StrategicMergePatchType, patch, options)
	case "StatefulSet":
		_, err = w.Kube.AppsV1().StatefulSets(ref.Namespace).Patch(ctx, ref.Name, types.StrategicMergePatchType, patch, options)
	case "DaemonSet":
		_, err = w.Kube.AppsV1().DaemonSets(ref.Namespace).Patch(ctx, ref.Name, types.StrategicMergePatchType, patch, options)
	}
	if err != nil {
		_, resource := lister(w.Kube, Ref{Kind: ref.Kind})
		w.unread(m, permission(err, "patch", resource, ref.Namespace))
		return nil
	}
	m.state, m.marked, m.detail = Restarting, at, "marked"
	return nil
}

// unread takes an error of the API server: what passes is waited for, a workload
// that is gone needs no restart, and anything else is a failure.
func (w *wave) unread(m *move, err error) {
	switch {
	case apierrors.IsNotFound(err):
		m.state, m.detail = Restarted, "it is gone"
	case passing(err):
		m.detail = err.Error()
	default:
		m.fail(err)
	}
}

// passing reports whether the same request may well be answered later: the API
// server did not answer, or was busy.
func passing(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	// A proxy before the API server has codes of its own, and no reasons.
	return status.Status().Code >= 500 || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsConflict(err)
}
