package rotation

import (
	"cmp"
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// LeaseState is who has a Lease, by the cluster's clock.
type LeaseState struct {
	Holder Holder `json:"holder"`
	// Since is when it was taken, Renewed when its holder was last heard of, and
	// Until when it is nobody's any more if nothing more is heard.
	Since   time.Time `json:"since,omitzero"`
	Renewed time.Time `json:"renewed,omitzero"`
	Until   time.Time `json:"until,omitzero"`
	// Alive is false where the holder has not been heard of for the Lease's duration.
	Alive bool `json:"alive"`
}

func (s LeaseState) String() string {
	text := s.Holder.String()
	if !s.Since.IsZero() {
		text += " since " + s.Since.UTC().Format(time.RFC3339)
	}
	if !s.Renewed.IsZero() {
		text += ", last heard of at " + s.Renewed.UTC().Format(time.RFC3339)
	}
	return text
}

// HeldError says who holds the Lease that another run needs.
type HeldError struct {
	Lease string
	State LeaseState

	// namesake: the holder has the name of whoever wants it.
	namesake bool
}

func (e *HeldError) Error() string {
	text := fmt.Sprintf("%s: lease %s is held by %s", ErrHeld, e.Lease, e.State)
	if !e.State.Until.IsZero() {
		text += "; if its holder is dead, it is free at " + e.State.Until.UTC().Format(time.RFC3339)
	}
	return text
}

// Unwrap makes it an ErrHeld.
func (e *HeldError) Unwrap() error { return ErrHeld }

// ReadLease says who holds the Lease of a namespace at a moment, on the cluster's
// clock; nil where nobody does.
func ReadLease(ctx context.Context, kube kubernetes.Interface, namespace string, now time.Time) (*LeaseState, error) {
	held, err := kube.CoordinationV1().Leases(namespace).Get(ctx, leaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading lease %s/%s: %w", namespace, leaseName, err)
	}
	if state := stateOf(held, now); state.Holder != (Holder{}) {
		return state, nil
	}
	return nil, nil
}

// stateOf reads a Lease; one without a holder is not alive. One that says nothing
// of its renewal never ends: unknown is never free.
func stateOf(held *coordinationv1.Lease, now time.Time) *LeaseState {
	spec := held.Spec
	state := &LeaseState{}
	if spec.HolderIdentity != nil {
		state.Holder = ParseHolder(*spec.HolderIdentity)
	}
	if spec.AcquireTime != nil {
		state.Since = spec.AcquireTime.Time
	}
	state.Alive = state.Holder != (Holder{})
	if spec.RenewTime != nil {
		duration := leaseDuration
		if spec.LeaseDurationSeconds != nil {
			duration = cmp.Or(time.Duration(*spec.LeaseDurationSeconds)*time.Second, leaseDuration)
		}
		state.Renewed, state.Until = spec.RenewTime.Time, spec.RenewTime.Add(duration)
		state.Alive = state.Alive && !now.After(state.Until)
	}
	return state
}
