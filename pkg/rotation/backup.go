package rotation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"
)

// Backup is a copy of a mesh's CA Secrets, keys among them: it is written sealed,
// and never printed.
type Backup struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	TakenAt    time.Time    `json:"takenAt,omitzero"`
	Cluster    mesh.Cluster `json:"cluster,omitzero"`
	Secrets    []SecretCopy `json:"secrets"`
}

const backupKind = "Backup"

// SecretCopy is a Secret's content. Its annotations are left out: they belong to
// the object, and one of kubectl's repeats the key.
type SecretCopy struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Type is "" where it is not known: only a Secret that is there takes it.
	Type   corev1.SecretType `json:"type,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Data   map[string][]byte `json:"data"`
}

// Ref is namespace/name.
func (s SecretCopy) Ref() string { return s.Namespace + "/" + s.Name }

// Format prints the name and never the content.
func (s SecretCopy) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "secret(%q, %d entries)", s.Ref(), len(s.Data))
}

// caSecrets are the names that a mesh keeps its CA under (istio 1.30.3
// security/pkg/pki/ca/ca.go:57, istio-ca-secret), and the staged Secret.
func caSecrets() []string { return []string{"cacerts", "istio-ca-secret", stagedName} }

// CopySecrets reads every CA Secret of these namespaces. One that cannot be read is
// an error: half a copy looks like a whole one.
func CopySecrets(ctx context.Context, kube kubernetes.Interface, namespaces ...string) ([]SecretCopy, error) {
	var all []SecretCopy
	for _, namespace := range namespaces {
		for _, name := range caSecrets() {
			secret, err := kube.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("reading secret %s/%s: %w", namespace, name, err)
			}
			all = append(all, copyOf(secret))
		}
	}
	return all, nil
}

func copyOf(s *corev1.Secret) SecretCopy {
	return SecretCopy{Namespace: s.Namespace, Name: s.Name, Type: s.Type, Labels: maps.Clone(s.Labels), Data: s.Data}
}

// Marshal writes the copy in clear: for sealing, and for nothing else.
func (b Backup) Marshal() ([]byte, error) {
	b.APIVersion, b.Kind = mesh.APIVersion, backupKind
	raw, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("writing the copy of the CA secrets: %w", err)
	}
	return raw, nil
}

// ParseBackup reads what Marshal wrote, or the copy that a rotation seals before
// its first change: of that the old CA. No error repeats what is in it.
func ParseBackup(raw []byte) (*Backup, error) {
	var b struct {
		Backup
		Rotation string            `json:"rotation"`
		Secret   string            `json:"secret"`
		Files    map[string]string `json:"files"`
	}
	read := func(raw []byte, into any) error { return yaml.Unmarshal(raw, into) } // a rotation's is YAML
	if bytes.HasPrefix(raw, []byte("{")) {
		read = json.Unmarshal
	}
	if err := read(raw, &b); err != nil {
		return nil, errors.New("it is neither a copy of CA secrets nor that of a rotation")
	}
	if namespace, name, ok := strings.Cut(b.Secret, "/"); ok && b.Kind == "" && b.Rotation != "" {
		old := SecretCopy{Namespace: namespace, Name: name, Data: map[string][]byte{}}
		for file, content := range b.Files {
			if entry, ok := strings.CutPrefix(file, "old/"); ok {
				old.Data[entry] = []byte(content)
			}
		}
		b.Secrets = []SecretCopy{old}
	} else if b.APIVersion != mesh.APIVersion || b.Kind != backupKind {
		return nil, errors.New("it is neither a copy of CA secrets nor that of a rotation")
	}
	for _, s := range b.Secrets {
		if s.Namespace == "" || s.Name == "" || len(s.Data) == 0 {
			return nil, errors.New("a secret in it has no name or no content")
		}
	}
	if len(b.Secrets) == 0 {
		return nil, errors.New("no secret is in it")
	}
	return &b.Backup, nil
}

// Errors of Restore, before anything is written.
var (
	// ErrType: the type of a Secret cannot be changed.
	ErrType = errors.New("the secret is of another type")
	// ErrImmutable: the Secret cannot be changed at all.
	ErrImmutable = errors.New("the secret is immutable")
)

// Restore writes a copy back in place: at the version in there, or as a new Secret
// where there is nil. Nothing is kept with dryRun. It holds the Lease while it
// writes; now is on the cluster's clock.
func Restore(ctx context.Context, kube kubernetes.Interface, holder string, now func() time.Time, s SecretCopy, there *corev1.Secret, dryRun bool) error {
	secret, err := s.over(there)
	if err != nil {
		return err
	}
	if dryRun {
		return s.write(ctx, kube, secret, there, metav1.DryRunAll)
	}
	l := newLease(kube, s.Namespace, holder, "", now)
	return l.while(ctx, func() error { return s.write(ctx, kube, secret, there) })
}

func (s SecretCopy) write(ctx context.Context, kube kubernetes.Interface, secret, there *corev1.Secret, keep ...string) (err error) {
	secrets := kube.CoreV1().Secrets(s.Namespace)
	if there == nil {
		_, err = secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: fieldManager, DryRun: keep})
	} else {
		_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{FieldManager: fieldManager, DryRun: keep})
	}
	if err != nil {
		return fmt.Errorf("writing secret %s: %w", s.Ref(), err)
	}
	return nil
}

// over is the Secret that a copy makes of what is there.
func (s SecretCopy) over(there *corev1.Secret) (*corev1.Secret, error) {
	if there == nil {
		if s.Type == "" {
			return nil, fmt.Errorf("secret %s: %w: the copy does not say of which, and there is none to take its place", s.Ref(), ErrType)
		}
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, Labels: s.Labels}, Type: s.Type, Data: s.Data}, nil
	}
	switch {
	case s.Type != "" && s.Type != there.Type:
		return nil, fmt.Errorf("secret %s: %w: it is %s, the copy %s", s.Ref(), ErrType, there.Type, s.Type)
	case there.Immutable != nil && *there.Immutable:
		return nil, fmt.Errorf("secret %s: %w", s.Ref(), ErrImmutable)
	}
	secret := there.DeepCopy()
	secret.Data = s.Data
	delete(secret.Annotations, lastApplied)
	for name, value := range s.Labels {
		if secret.Labels == nil {
			secret.Labels = map[string]string{}
		}
		secret.Labels[name] = value
	}
	return secret, nil
}

// Same reports whether a Secret holds what the copy does.
func (s SecretCopy) Same(there *corev1.Secret) bool {
	return there != nil && maps.EqualFunc(s.Data, there.Data, slices.Equal)
}
