package rotation_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Between the plan and the first write somebody may change the CA Secret, of which
// istiods with the default flags show nothing: what was not planned with is neither kept
// as the old CA nor written.
func TestChangedSinceThePlan(t *testing.T) {
	_, foreign := ca(t, "F")
	files, err := foreign.Files()
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		mesh   func(*rehearsal.Spec)
		secret string
		change func(*corev1.Secret)
		goes   bool
	}{
		"another CA":           {cold, "cacerts", func(s *corev1.Secret) { replaceCA(s, files) }, false},
		"another root beside":  {cold, "cacerts", func(s *corev1.Secret) { s.Data[pki.RootFile] = append(s.Data[pki.RootFile], files.Root.Data...) }, false},
		"another key":          {cold, "cacerts", func(s *corev1.Secret) { s.Data[pki.KeyFile] = files.CAKey.Data }, false},
		"another self-signed":  {func(s *rehearsal.Spec) { cold(s); s.Source, s.CA = mesh.CASelfSigned, selfSigned(t) }, "istio-ca-secret", func(s *corev1.Secret) { s.Data[pki.CertFile] = foreign.Cert.PEM() }, false},
		"an entry of somebody": {cold, "cacerts", func(s *corev1.Secret) { s.Data["note"] = []byte("x") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, row.mesh)
				b.config.Strategy, b.engine.Until = rotation.BundleByRenewal, rotation.Prepare
				s, err := b.collector().Collect(b.ctx)
				if err != nil {
					t.Fatal(err)
				}
				s.Gaps = nil
				plan := rotation.NewPlan(s, b.config)
				secrets := b.mesh.Kube.CoreV1().Secrets("istio-system")
				secret, err := secrets.Get(b.ctx, row.secret, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				row.change(secret)
				if _, err := secrets.Update(b.ctx, secret, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
				err = b.engine.Run(b.ctx, plan, nil)
				if row.goes {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if !errors.Is(err, rotation.ErrForeign) {
					t.Errorf("it ends with %v", err)
				}
				if _, err := secrets.Get(b.ctx, "meshca-staged", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					t.Errorf("what was put there is kept as the old CA: %v", err)
				}
			})
		})
	}
}

func replaceCA(s *corev1.Secret, files pki.Files) {
	for _, f := range files.All() {
		s.Data[f.Name] = f.Data
	}
}

func selfSigned(t *testing.T) *pki.Authority {
	t.Helper()
	self, _ := ca(t, "S")
	return self
}
