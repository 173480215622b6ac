package rotation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// refreshedAt on a pod makes kubelet look at its volumes at once.
	refreshedAt = "meshca.io/refreshed-at"
	// restartedAt on a pod template is what kubectl rollout restart writes.
	restartedAt = "kubectl.kubernetes.io/restartedAt"
)

// make writes the i-th step. Where it stood there already only what may be missing behind
// it is done again.
func (r *run) make(ctx context.Context, steps []Step, i int, at place) error {
	step, written := steps[i], i == at.step && at.written
	if r.first.IsZero() {
		r.first, r.before = r.Clock.Now(), r.waited
	}
	if !written {
		if err := r.unproven(ctx, steps[i:]); err != nil {
			return err
		}
		if err := r.write(ctx, step, step.Roots, r.predecessor(steps, i, at)); err != nil {
			return err
		}
	}
	if step.Restart || written && step.cold {
		return r.restart(ctx, step)
	}
	r.refresh(ctx)
	return nil
}

// unproven forgets what the journal says of steps that are to be written: where somebody
// has put the CA of before back meanwhile, they were proven of another mesh.
func (r *run) unproven(ctx context.Context, steps []Step) error {
	forgotten := false
	for _, step := range steps {
		if _, ok := r.journal.state.Replaced[step.key()]; ok {
			delete(r.journal.state.Replaced, step.key())
			forgotten = true
		}
		for _, of := range []map[string]time.Time{r.journal.state.Restarted, r.journal.state.Published, r.journal.state.Proven} {
			if _, ok := of[step.key()]; ok {
				delete(of, step.key())
				forgotten = true
			}
		}
	}
	if !forgotten {
		return nil
	}
	return r.save(ctx)
}

// push writes the same roots in another layout, and takes that back: istiods push
// it, and agents renew.
func (r *run) push(ctx context.Context, step Step) error {
	r.figures.Nudges++
	r.pushing = true
	defer func() { r.pushing = false }()
	r.emit(Event{Kind: EventNudge, Message: "stragglers: the same roots are sent once more"})
	nothingElse := func(map[string][]byte) bool { return false }
	for _, roots := range [][]byte{step.nudge, step.Roots} {
		if err := r.write(ctx, step, roots, nothingElse); err != nil {
			return err
		}
		r.refresh(ctx)
		// Both layouts hold the same set: what is written over one before every istiod
		// has loaded it is no push for those that have not.
		if err := r.loaded(ctx, roots); err != nil {
			return err
		}
	}
	return nil
}

// nudgeWait bounds how long a nudge is waited for: one that is lost is only no nudge.
const nudgeWait = 5 * time.Second

// loaded waits until every istiod hands out this very layout, and has published it.
func (r *run) loaded(ctx context.Context, roots []byte) error {
	layout := mustCerts(roots)
	for end := r.Clock.Now().Add(nudgeWait); r.Clock.Now().Before(end); {
		cm, err := r.Kube.CoreV1().ConfigMaps(r.plan.Namespace).Get(ctx, r.plan.trustConfigMap, metav1.GetOptions{})
		if err == nil && cm.Data[pki.RootFile] == string(roots) {
			s, err := r.Observer.Observe(ctx, Observation{Vouching: r.vouching})
			if err == nil && handOut(s, layout) {
				return nil
			}
		}
		if err := r.pause(ctx, firstPoll); err != nil {
			return err
		}
	}
	return nil
}

// handOut reports whether no istiod is seen to hand out another layout.
func handOut(s *mesh.Snapshot, layout []*pki.Certificate) bool {
	for _, plane := range s.ControlPlanes {
		for _, replica := range plane.Replicas {
			if replica.Signed != nil && !sameCerts(replica.Signed.Roots, layout) {
				return false
			}
		}
	}
	return true
}

// write changes the CA Secret in place, and only from what stands there before this step,
// or from another layout of the step's own, at the version that was read: over anything
// else of this rotation signer and bundle could change in one write. Each try reads and
// judges it anew: what somebody else has written meanwhile is not written over, and an
// answer that was lost is no second write.
func (r *run) write(ctx context.Context, step Step, roots []byte, before func(map[string][]byte) bool) error {
	sent := false
	return r.insist(ctx, r.plan.object(), func() error {
		if err := r.lease.renew(ctx); err != nil {
			return err
		}
		secret, err := r.plan.read(ctx, r.Kube)
		if err != nil {
			return err
		}
		want, there := r.material.entries(step, roots), entriesOf(secret)
		if r.material.same(there, want) {
			if sent {
				r.wrote(step, roots)
			}
			return nil
		}
		if !r.has(step, there) && !before(there) {
			return r.foreign(there)
		}
		if len(there[pki.CRLFile]) > 0 && len(r.material.old[pki.CRLFile]) == 0 {
			return fmt.Errorf("%w: %s has a %s since this began, and Envoy then demands a list of every issuer of a chain: take it out, restart istiod, which never gives it up while it runs, and run this again", ErrForeign, r.plan.object(), pki.CRLFile)
		}
		want = r.material.over(there, want)
		// What istiod takes for its own is nobody's after this.
		delete(want, r.unwanted())
		sent = true
		if err := r.plan.update(ctx, r.Kube, secret, want); err != nil {
			return err
		}
		r.wrote(step, roots)
		return nil
	})
}

func (r *run) wrote(step Step, roots []byte) {
	text := step.Name + ": " + step.About
	switch {
	case r.pushing && bytes.Equal(roots, step.nudge):
		text = "the same roots in another layout, so that istiods push them"
	case r.pushing:
		text = "the same roots as they were laid out before"
	}
	r.emit(Event{Kind: EventWrite, Object: r.plan.object(), Message: text})
}

// unwanted is the entry that keeps istiod from watching what it takes for its own.
func (r *run) unwanted() string {
	if r.plan.Adopts {
		return generatedKey
	}
	return ""
}

// hurried is a refresh that an API server which was away has not taken.
type hurried struct {
	tries int // that have failed; 0 where nothing is due
	next  time.Time
}

const (
	// mostHurries is how often a refresh is tried: kubelet's own round, a minute or so,
	// brings the files too.
	mostHurries   = 8
	longestHurry  = 20 * time.Second
	shortestHurry = 500 * time.Millisecond
)

// refresh annotates istiod's pods, so that their files follow at once and not
// with kubelet's next round. Without the permission they follow later; where the API
// server is away it is tried again while the gate waits.
func (r *run) refresh(ctx context.Context) {
	r.hurried = hurried{}
	err := r.annotate(ctx)
	switch {
	case err == nil || ctx.Err() != nil:
	case passing(err):
		r.hurried = hurried{1, r.Clock.Now().Add(shortestHurry)}
		r.emit(Event{Kind: EventWait, Object: "pods of istiod", Message: "istiods' files follow with kubelet's next round, within a minute or so, unless it can be hurried: " + err.Error()})
	default:
		r.emit(Event{Kind: EventWarning, Object: "pods of istiod", Message: "kubelet's refresh could not be hurried, it comes by itself: " + err.Error()})
	}
}

// hurryAgain tries a refresh that was lost, once the API server is seen to answer.
func (r *run) hurryAgain(ctx context.Context) {
	h := r.hurried
	if h.tries == 0 || r.held || r.Clock.Now().Before(h.next) {
		return
	}
	err := r.annotate(ctx)
	if err == nil || !passing(err) || h.tries >= mostHurries {
		r.hurried = hurried{}
		return
	}
	r.hurried = hurried{h.tries + 1, r.Clock.Now().Add(min(shortestHurry<<h.tries, longestHurry))}
}

// annotate has kubelet look at the volumes of istiod's pods.
func (r *run) annotate(ctx context.Context) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{refreshedAt: r.Clock.Now().UTC().Format(time.RFC3339Nano)}}})
	if err != nil {
		return fmt.Errorf("annotating pods: %w", err)
	}
	pods := r.Kube.CoreV1().Pods(r.plan.Namespace)
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=istiod"})
	if err != nil {
		return fmt.Errorf("listing pods of istiod: %w", err)
	}
	for _, pod := range list.Items {
		if _, err := pods.Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("annotating pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	return nil
}

// restart rolls every istiod of the namespace, where their own answers do not
// prove that they have loaded the step already.
func (r *run) restart(ctx context.Context, step Step) error {
	s, err := r.look(ctx, Observation{Vouching: r.vouching})
	if err != nil {
		return fmt.Errorf("looking at istiod before its restart: %w", err)
	}
	proven := r.plan.config.CSRProof && step.expect.replicasOnly().Judge(s, nil).Open()
	// An istiod that loads no other bundle in place takes the next signer behind the very
	// bytes that it has.
	if proven && step.cold {
		proven = handOut(s, mustCerts(step.Roots)) || step.nudge != nil && handOut(s, mustCerts(step.nudge))
	}
	if step.always {
		for _, g := range s.Gaps {
			if g.Resource == "pods" || g.Resource == "deployments" { // one that is not seen now would count as new
				return fmt.Errorf("looking at istiod before its restart: %s: %s", g.Part, g.Error)
			}
		}
		if former, ok := r.journal.state.Replaced[step.key()]; ok && gone(s, r.plan.Namespace, former) && (proven || !r.plan.config.CSRProof) {
			return nil
		}
	} else if proven {
		return nil
	}
	// Before the act, so that whoever carries on knows who ran then. Whoever is made after
	// this look starts with what stands in the Secret.
	remember(&r.journal.state.Restarted, step, s.ClusterTime().Truncate(time.Second))
	if r.journal.state.Replaced == nil {
		r.journal.state.Replaced = map[string][]string{}
	}
	r.journal.state.Replaced[step.key()] = istiodsOf(s, r.plan.Namespace)
	if err := r.save(ctx); err != nil {
		return err
	}
	for _, plane := range s.ControlPlanes {
		if plane.Namespace != r.plan.Namespace {
			continue
		}
		patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{%q:%q}}}}}`, restartedAt, r.Clock.Now().UTC().Format(time.RFC3339))
		err := r.insist(ctx, "deployment "+plane.Namespace+"/"+plane.Name, func() error {
			if err := r.lease.renew(ctx); err != nil {
				return err
			}
			_, err := r.Kube.AppsV1().Deployments(plane.Namespace).Patch(ctx, plane.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: fieldManager})
			return err
		})
		if err != nil {
			return fmt.Errorf("restarting deployment %s/%s: %w", plane.Namespace, plane.Name, err)
		}
		r.figures.Restarts += int(plane.Desired)
		r.emit(Event{Kind: EventRestart, Object: "deployment " + plane.Namespace + "/" + plane.Name, Message: r.plan.signerName() + " is restarted, replica by replica"})
	}
	return nil
}

// istiodsOf are the UIDs of the istiods of a namespace.
func istiodsOf(s *mesh.Snapshot, namespace string) []string {
	all := []string{}
	for _, plane := range s.ControlPlanes {
		if plane.Namespace != namespace {
			continue
		}
		for _, replica := range plane.Replicas {
			all = append(all, replica.UID)
		}
	}
	return all
}

// gone reports whether there are istiods in the namespace, and none of the former.
func gone(s *mesh.Snapshot, namespace string, former []string) bool {
	all := istiodsOf(s, namespace)
	return len(all) > 0 && !slices.ContainsFunc(all, func(uid string) bool { return slices.Contains(former, uid) })
}

func remember(in *map[string]time.Time, step Step, at time.Time) {
	if *in == nil {
		*in = map[string]time.Time{}
	}
	(*in)[step.key()] = at
}

// key tells a step from all others of the plan and its way back.
func (s Step) key() string { return string(s.Phase) + "/" + s.Name }
