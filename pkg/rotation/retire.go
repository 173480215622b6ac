package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// ReadStaged is the journal of the rotation whose CAs are kept; nil where none
// are.
func ReadStaged(ctx context.Context, kube kubernetes.Interface, namespace string) (*Journal, error) {
	secret, err := stagedSecret(ctx, kube, namespace)
	if secret == nil {
		return nil, err
	}
	id := secret.Labels[rotationLabel]
	cm, err := kube.CoreV1().ConfigMaps(namespace).Get(ctx, journalPrefix+id, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &Journal{ID: id, Phase: Prepare}, nil // killed between the two writes
	}
	if err != nil {
		return nil, fmt.Errorf("reading configmap %s/%s: %w", namespace, journalPrefix+id, err)
	}
	journal, err := parseJournal(cm)
	if err != nil {
		return &Journal{ID: id, Phase: Prepare}, nil //nolint:nilerr // whatever it said, it is not known to be over
	}
	return &journal, nil
}

// ErrOpen is returned where a rotation has not ended: what is kept of it is the way back.
var ErrOpen = errors.New("the rotation is not over")

// Retire destroys the staged Secret of one rotation that has ended, and no other's. It
// holds the Lease meanwhile: what was read before somebody was asked is read once more, for
// the way back may have begun since. now is on the cluster's clock.
func Retire(ctx context.Context, kube kubernetes.Interface, holder string, now func() time.Time, namespace, id string) error {
	l := newLease(kube, namespace, holder, "", now)
	return l.while(ctx, func() error {
		journal, err := ReadStaged(ctx, kube, namespace)
		switch {
		case err != nil:
			return err
		case journal != nil && journal.ID == id && !journal.Over():
			return fmt.Errorf("%w: rotation %s is in phase %s by now", ErrOpen, id, journal.Phase)
		}
		return retire(ctx, kube, namespace, id, nil)
	})
}

// RetireDryRun has the API server judge what Retire would do, and keep the Secret.
func RetireDryRun(ctx context.Context, kube kubernetes.Interface, namespace, id string) error {
	return retire(ctx, kube, namespace, id, []string{metav1.DryRunAll})
}

func retire(ctx context.Context, kube kubernetes.Interface, namespace, id string, dryRun []string) error {
	secrets := kube.CoreV1().Secrets(namespace)
	secret, err := secrets.Get(ctx, stagedName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading secret %s/%s: %w", namespace, stagedName, err)
	}
	if there := secret.Labels[rotationLabel]; there != id {
		return fmt.Errorf("secret %s/%s is of rotation %s, not of %s", namespace, stagedName, there, id)
	}
	err = secrets.Delete(ctx, stagedName, metav1.DeleteOptions{DryRun: dryRun, Preconditions: &metav1.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion}})
	if err != nil {
		return fmt.Errorf("deleting secret %s/%s: %w", namespace, stagedName, err)
	}
	return nil
}
