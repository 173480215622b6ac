package rotation

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// refreshedAt on a pod makes kubelet look at its volumes at once.
	refreshedAt = "meshca.io/refreshed-at"
	// restartedAt on a pod template is what kubectl rollout restart writes.
	restartedAt = "kubectl.kubernetes.io/restartedAt"
)

// make writes a step. written is true where it stood there already: then only
// what may be missing behind it is done again.
func (r *run) make(ctx context.Context, step Step, written bool) error {
	if r.first.IsZero() {
		r.first = r.Clock.Now()
	}
	if !written {
		if err := r.write(ctx, step, step.Roots); err != nil {
			return err
		}
	}
	if step.Restart {
		return r.restart(ctx, step)
	}
	r.refresh(ctx)
	return nil
}

// push writes the same roots in another layout, and takes that back: istiods push
// it, and agents renew (istio-facts D2).
func (r *run) push(ctx context.Context, step Step) error {
	r.figures.Nudges++
	r.emit(Event{Kind: EventNudge, Message: "stragglers: the same roots are sent once more"})
	for _, roots := range [][]byte{step.nudge, step.Roots} {
		if err := r.write(ctx, step, roots); err != nil {
			return err
		}
		r.refresh(ctx)
		// Both layouts hold the same set, so only what istiod publishes tells that it
		// has loaded one before the other is written over it.
		if err := r.published(ctx, roots); err != nil {
			return err
		}
	}
	return nil
}

// published waits until the namespace's own trust ConfigMap holds these bytes, or
// a few seconds: a nudge that is lost is only not a nudge.
func (r *run) published(ctx context.Context, roots []byte) error {
	for end := r.Clock.Now().Add(5 * time.Second); r.Clock.Now().Before(end); {
		name := r.plan.trustConfigMap
		cm, err := r.Kube.CoreV1().ConfigMaps(r.plan.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && cm.Data[pki.RootFile] == string(roots) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.Clock.After(firstPoll):
		}
	}
	return nil
}

// write changes the CA Secret in place, and only from what this rotation knows:
// between two phases it must hold the one or the other, at the version that was
// read.
func (r *run) write(ctx context.Context, step Step, roots []byte) error {
	if err := r.lease.renew(ctx); err != nil {
		return err
	}
	secret, err := r.plan.read(ctx, r.Kube)
	if err != nil {
		return err
	}
	want := r.material.entries(step, roots)
	if r.material.same(secret.Data, want) {
		return nil
	}
	if _, ok := r.material.position(r.plan.Steps, secret.Data); !ok {
		return fmt.Errorf("%w: %s", ErrForeign, r.plan.object())
	}
	if err := r.plan.update(ctx, r.Kube, secret, want); err != nil {
		return err
	}
	r.emit(Event{Kind: EventWrite, Object: r.plan.object(), Message: fmt.Sprintf("%s: %s", step.Name, step.About)})
	return nil
}

// refresh annotates istiod's pods, so that their files follow at once and not
// with kubelet's next round. Without the permission they follow later.
func (r *run) refresh(ctx context.Context) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{refreshedAt: r.Clock.Now().UTC().Format(time.RFC3339Nano)}}})
	if err != nil {
		return // of strings: it cannot
	}
	pods := r.Kube.CoreV1().Pods(r.plan.Namespace)
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=istiod"})
	if err == nil {
		for _, pod := range list.Items {
			if _, err = pods.Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}); err != nil {
				break
			}
		}
	}
	if err != nil && ctx.Err() == nil {
		r.emit(Event{Kind: EventWarning, Object: "pods of istiod", Message: "kubelet's refresh could not be hurried, it comes by itself: " + err.Error()})
	}
}

// restart rolls every istiod of the namespace, where their own answers do not
// prove that they have loaded the step already.
func (r *run) restart(ctx context.Context, step Step) error {
	s, err := r.Observer.Observe(ctx, Observation{Vouching: r.vouching})
	if err != nil {
		return fmt.Errorf("looking at istiod before its restart: %w", err)
	}
	if r.plan.config.CSRProof && step.expect.replicasOnly().Judge(s, nil).Open() {
		return nil
	}
	for _, plane := range s.ControlPlanes {
		if plane.Namespace != r.plan.Namespace {
			continue
		}
		if err := r.lease.renew(ctx); err != nil {
			return err
		}
		patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{%q:%q}}}}}`, restartedAt, r.Clock.Now().UTC().Format(time.RFC3339))
		if _, err := r.Kube.AppsV1().Deployments(plane.Namespace).Patch(ctx, plane.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: fieldManager}); err != nil {
			return fmt.Errorf("restarting deployment %s/%s: %w", plane.Namespace, plane.Name, err)
		}
		r.figures.Restarts += int(plane.Desired)
		r.emit(Event{Kind: EventRestart, Object: "deployment " + plane.Namespace + "/" + plane.Name, Message: "istiod is restarted, replica by replica"})
	}
	return nil
}
