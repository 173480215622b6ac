package rotation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	stagedName    = "meshca-staged"
	fieldManager  = mesh.ManagedBy
	rotationLabel = "meshca.io/rotation"
	// Entries of the staged Secret: the old Secret's own and the new CA's files, each
	// behind a prefix, and these.
	oldPrefix     = "old."
	newPrefix     = "new."
	crossEntry    = newPrefix + "cross-cert.pem"
	strategyEntry = "strategy"
	kindEntry     = "kind"
	reasonEntry   = "reason"
)

func labels(id string) map[string]string {
	l := map[string]string{"app.kubernetes.io/managed-by": mesh.ManagedBy}
	if id != "" {
		l[rotationLabel] = id
	}
	return l
}

// Staged is what waits beside the CA Secret for as long as a rotation lasts: the
// old CA as it was, and the new one. It has keys in it: it is never printed.
type Staged struct {
	ID       string
	Strategy Strategy
	Reason   Reason
	// Kind is where the old CA came from.
	Kind  mesh.CAKind
	Old   map[string][]byte
	New   *pki.Authority
	Cross *pki.Certificate
}

// ErrStaged is returned where another rotation's copy is in the way.
var ErrStaged = errors.New("another rotation's old CA is still kept")

// ErrBegun is returned where what is kept is not what somebody has planned from.
var ErrBegun = errors.New("another run has begun, or ended, since this was planned")

// stagedSecret is the staged Secret of a namespace, nil where there is none.
func stagedSecret(ctx context.Context, kube kubernetes.Interface, namespace string) (*corev1.Secret, error) {
	secret, err := kube.CoreV1().Secrets(namespace).Get(ctx, stagedName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading secret %s/%s: %w", namespace, stagedName, err)
	}
	return secret, nil
}

// FindStaged reads the staged Secret of a namespace; nil where there is none.
func FindStaged(ctx context.Context, kube kubernetes.Interface, namespace string) (*Staged, error) {
	secret, err := stagedSecret(ctx, kube, namespace)
	if secret == nil {
		return nil, err
	}
	staged := &Staged{ID: secret.Labels[rotationLabel], Strategy: Strategy(secret.Data[strategyEntry]), Reason: Reason(secret.Data[reasonEntry]),
		Kind: mesh.CAKind(secret.Data[kindEntry]), Old: map[string][]byte{}}
	for name, value := range secret.Data {
		if entry, ok := strings.CutPrefix(name, oldPrefix); ok {
			staged.Old[entry] = value
		}
	}
	staged.New, err = pki.ParseFiles(pki.Files{
		Root: file(secret, pki.RootFile), CACert: file(secret, pki.CertFile), CAKey: file(secret, pki.KeyFile), Chain: file(secret, pki.ChainFile),
	})
	if err != nil {
		return nil, fmt.Errorf("secret %s/%s: %w", namespace, stagedName, err)
	}
	if raw := secret.Data[crossEntry]; len(raw) > 0 {
		bundle, err := pki.ParseBundle(raw)
		if err != nil {
			return nil, fmt.Errorf("secret %s/%s, %s: %w", namespace, stagedName, crossEntry, err)
		}
		staged.Cross = bundle.Certs[0]
	}
	return staged, nil
}

func file(secret *corev1.Secret, name string) pki.File {
	return pki.File{Name: newPrefix + name, Data: secret.Data[newPrefix+name]}
}

// entries are what the staged Secret holds.
func (s *Staged) entries() (map[string][]byte, error) {
	files, err := s.New.Files()
	if err != nil {
		return nil, fmt.Errorf("the new CA: %w", err)
	}
	data := map[string][]byte{strategyEntry: []byte(s.Strategy), kindEntry: []byte(s.Kind), reasonEntry: []byte(s.Reason)}
	for _, f := range files.All() {
		data[newPrefix+f.Name] = f.Data
	}
	if s.Cross != nil {
		data[crossEntry] = s.Cross.PEM()
	}
	for name, value := range s.Old {
		data[oldPrefix+name] = value
	}
	return data, nil
}

// same requires of what is kept that it is this, whole: of one ID there are rotations by
// different strategies, with a cross certificate or without.
func (s *Staged) same(there *Staged, secret string) error {
	if there.ID != s.ID {
		return fmt.Errorf("%w: %s is of rotation %s", ErrStaged, secret, there.ID)
	}
	want, err := s.entries()
	if err != nil {
		return err
	}
	have, err := there.entries()
	if err != nil {
		return err
	}
	if !maps.EqualFunc(want, have, bytes.Equal) {
		return fmt.Errorf("%w: %s holds another plan (%s) than this one", ErrBegun, secret, there.Strategy)
	}
	return nil
}

// keptStill requires that what is kept is what somebody has planned from, nil where that
// was nothing. It is asked under the Lease: from then on nobody else keeps or retires it.
func keptStill(ctx context.Context, kube kubernetes.Interface, namespace string, planned *Staged) error {
	secret := "secret " + namespace + "/" + stagedName
	there, err := FindStaged(ctx, kube, namespace)
	switch {
	case err != nil || there == nil && planned == nil:
		return err
	case there == nil:
		return fmt.Errorf("%w: %s is gone", ErrBegun, secret)
	case planned == nil:
		return fmt.Errorf("%w: %s is of rotation %s, %s", ErrBegun, secret, there.ID, there.Strategy)
	}
	return planned.same(there, secret)
}

// stage keeps old and new CA beside the CA Secret, before the first change. It is
// create-only: what another rotation keeps is not overwritten.
func stage(ctx context.Context, kube kubernetes.Interface, namespace string, s *Staged) error {
	data, err := s.entries()
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: stagedName, Labels: labels(s.ID)},
		Type:       corev1.SecretTypeOpaque, Data: data,
	}
	_, err = kube.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{FieldManager: fieldManager})
	if !apierrors.IsAlreadyExists(err) {
		if err != nil {
			return fmt.Errorf("making secret %s/%s: %w", namespace, stagedName, err)
		}
		return nil
	}
	there, err := FindStaged(ctx, kube, namespace)
	switch {
	case err != nil:
		return err
	case there != nil: // the answer to an earlier try may have been lost
		return s.same(there, "secret "+namespace+"/"+stagedName)
	}
	return fmt.Errorf("secret %s/%s: it came and went", namespace, stagedName)
}
