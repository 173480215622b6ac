package restart

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// evict replaces the pods that need it one by one: the next only once the one
// before is gone, and its controller has as many that serve as it should.
func (w *wave) evict(ctx context.Context, m *move) error {
	if m.evicted != nil && !m.gone {
		there, err := w.there(ctx, m.target.Namespace, *m.evicted)
		if err != nil {
			w.unread(m, err)
			return nil
		}
		if m.detail = "pod " + m.evicted.Name + " is ending"; !there {
			// Its controller's count may be older than this look: the next one tells.
			m.gone, m.detail = true, "pod "+m.evicted.Name+" is gone"
		}
		return nil
	}
	c, err := w.read(ctx, m.target.Ref)
	if err != nil {
		w.unread(m, err)
		return nil
	}
	if !c.settled {
		m.detail = c.progress
		return nil
	}
	m.evicted, m.gone = nil, false
	if len(m.queue) == 0 {
		m.state, m.detail = Restarted, c.progress
		return nil
	}
	if c.way != singly {
		m.fail(errReplanned)
		return nil
	}
	if m.state == Waiting {
		if m.detail = w.room(m); m.detail != "" {
			return nil
		}
	}
	return w.next(ctx, m)
}

// next evicts the pod whose turn it is.
func (w *wave) next(ctx context.Context, m *move) error {
	if w.Before != nil {
		if err := w.Before(ctx); err != nil {
			return err
		}
	}
	pod, uid := m.queue[0], types.UID(m.queue[0].UID)
	err := ask(ctx, w.Kube, metav1.ObjectMeta{Namespace: m.target.Namespace, Name: pod.Name}, &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	switch {
	case err == nil:
		m.state, m.evicted, m.queue, m.detail = Restarting, &pod, m.queue[1:], "pod "+pod.Name+" is evicted"
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		// It is gone, or another has its name: replaced either way.
		m.state, m.queue, m.detail = Restarting, m.queue[1:], "pod "+pod.Name+" was replaced already"
	case apierrors.IsTooManyRequests(err):
		m.detail = fmt.Sprintf("pod %s may not be evicted now: %v", pod.Name, err)
	default:
		w.unread(m, permission(err, "create", "pods/eviction", m.target.Namespace))
	}
	return nil
}

// there reports whether this very pod still is.
func (w *wave) there(ctx context.Context, namespace string, pod Pod) (bool, error) {
	now, err := w.Kube.CoreV1().Pods(namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, permission(err, "get", "pods", namespace)
	}
	return string(now.UID) == pod.UID, nil
}
