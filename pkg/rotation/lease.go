package rotation

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	leaseName     = "meshca-rotation"
	leaseDuration = time.Minute
	leaseRenewal  = leaseDuration / 3
	// processNote says which process a Lease's holder is: names are not each process's own.
	processNote = "meshca.io/process"
)

// ErrHeld is returned where another run holds the Lease.
var ErrHeld = errors.New("another rotation is under way")

// lease keeps two operators apart.
type lease struct {
	kube      kubernetes.Interface
	namespace string
	holder    string
	// process tells this holder from its namesakes.
	process string
	// now is on the cluster's clock: of two machines that differ, one would take the other
	// for dead.
	now func() time.Time
	// dead is a holder that somebody knows to be dead, "" for none: its Lease is taken
	// before it runs out. Should it live, it ends at its next write, which renews first.
	dead string
}

// newLease is a Lease that nobody has asked for yet; of a process that has no name of its
// own each Lease has one.
func newLease(kube kubernetes.Interface, namespace, holder, process string, now func() time.Time) *lease {
	return &lease{kube: kube, namespace: namespace, holder: holder, process: cmp.Or(process, rand.Text()), now: now}
}

// acquire takes the Lease, or says who holds it, since when. One that was not
// renewed for its duration is nobody's any more.
func (l *lease) acquire(ctx context.Context) error {
	leases := l.kube.CoordinationV1().Leases(l.namespace)
	held, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		held = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: leaseName, Labels: labels("")}, Spec: l.spec(nil)}
		l.sign(held)
		_, err = leases.Create(ctx, held, metav1.CreateOptions{FieldManager: fieldManager})
		if apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("%w: it began this moment", ErrHeld)
		}
		return l.wrap("making", err)
	}
	if err != nil {
		return l.wrap("reading", err)
	}
	// One that is this process's own already was taken by a try whose answer was lost, or is
	// left of a run before that could not release it.
	if state := stateOf(held, l.now()); state.Alive && !l.has(held) && (l.dead == "" || l.dead != state.Holder.Identity()) {
		return &HeldError{Lease: l.namespace + "/" + leaseName, State: *state, namesake: l.holder == state.Holder.Identity()}
	}
	held.Spec = l.spec(&held.Spec)
	l.sign(held)
	_, err = leases.Update(ctx, held, metav1.UpdateOptions{FieldManager: fieldManager})
	if apierrors.IsConflict(err) {
		return fmt.Errorf("%w: somebody took lease %s/%s this moment", ErrHeld, l.namespace, leaseName)
	}
	return l.wrap("taking", err)
}

// while does something while the Lease is held.
func (l *lease) while(ctx context.Context, do func() error) (err error) {
	if err := l.acquire(ctx); err != nil {
		return err
	}
	defer func() {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, l.release(after))
	}()
	return do()
}

// object names the Lease for people.
func (l *lease) object() string { return "lease " + l.namespace + "/" + leaseName }

func (l *lease) spec(before *coordinationv1.LeaseSpec) coordinationv1.LeaseSpec {
	now := metav1.NewMicroTime(l.now())
	seconds := int32(leaseDuration / time.Second)
	spec := coordinationv1.LeaseSpec{HolderIdentity: &l.holder, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now}
	if before != nil {
		var transitions int32 = 1
		if before.LeaseTransitions != nil {
			transitions += *before.LeaseTransitions
		}
		spec.LeaseTransitions = &transitions
	}
	return spec
}

// renew says that this run lives; it fails where somebody else has taken over.
func (l *lease) renew(ctx context.Context) error {
	leases := l.kube.CoordinationV1().Leases(l.namespace)
	held, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
	if err != nil {
		return l.wrap("reading", err)
	}
	if err := l.mine(held); err != nil {
		return err
	}
	now := metav1.NewMicroTime(l.now())
	held.Spec.RenewTime = &now
	_, err = leases.Update(ctx, held, metav1.UpdateOptions{FieldManager: fieldManager})
	return l.wrap("renewing", err)
}

// has reports whether the holder of a Lease is this one, and none of its namesakes.
func (l *lease) has(held *coordinationv1.Lease) bool {
	return held.Spec.HolderIdentity != nil && *held.Spec.HolderIdentity == l.holder && held.Annotations[processNote] == l.process
}

// sign says on a Lease whose it is.
func (l *lease) sign(held *coordinationv1.Lease) {
	if held.Annotations == nil {
		held.Annotations = map[string]string{}
	}
	held.Annotations[processNote] = l.process
}

func (l *lease) mine(held *coordinationv1.Lease) error {
	if !l.has(held) {
		who := "nobody"
		if held.Spec.HolderIdentity != nil {
			who = *held.Spec.HolderIdentity
		}
		return fmt.Errorf("%w: lease %s/%s was taken over by %s", ErrHeld, l.namespace, leaseName, ParseHolder(who))
	}
	return nil
}

// keep renews until ctx ends, and cancels the work where the Lease is lost for
// good: taken over, or not renewed for its whole duration although the API server
// answers. While that is away nobody can take it over, and before each write it is
// asked whose it is.
func (l *lease) keep(ctx context.Context, after func(time.Duration) <-chan time.Time, lost func(error)) {
	renewed := l.now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-after(leaseRenewal):
		}
		err := l.renew(ctx)
		switch {
		case err == nil:
			renewed = l.now()
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrHeld), l.now().Sub(renewed) > leaseDuration && !passing(err):
			lost(err)
			return
		}
	}
}

// release lets the next run begin at once.
func (l *lease) release(ctx context.Context) error {
	leases := l.kube.CoordinationV1().Leases(l.namespace)
	held, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
	if err != nil {
		return l.wrap("reading", err)
	}
	if !l.has(held) {
		return nil // somebody else's by now
	}
	delete(held.Annotations, processNote)
	nobody := ""
	held.Spec.HolderIdentity = &nobody
	_, err = leases.Update(ctx, held, metav1.UpdateOptions{FieldManager: fieldManager})
	return l.wrap("releasing", err)
}

func (l *lease) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s lease %s/%s: %w", what, l.namespace, leaseName, err)
}
