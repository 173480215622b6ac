package rotation_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// unmake deletes the CA Secret, as the instructions of others do.
func (b *bench) unmake() {
	b.t.Helper()
	if err := b.mesh.Kube.CoreV1().Secrets("istio-system").Delete(b.ctx, "cacerts", metav1.DeleteOptions{}); err != nil {
		b.t.Fatal(err)
	}
	time.Sleep(time.Minute)
}

// A CA Secret that is deleted under a rotation is made again as istiods have it in memory,
// and both ways lead on; without istiods that tell nothing is made.
func TestDeletedUnderARotation(t *testing.T) {
	for name, row := range map[string]struct {
		mesh  func(*rehearsal.Spec)
		until rotation.Phase
		back  bool
	}{
		"both roots, and back":   {nil, rotation.TrustNew, true},
		"the new signer":         {nil, rotation.SignNew, false},
		"tls, the new signer":    {func(s *rehearsal.Spec) { s.Source = mesh.CAPluggedTLS }, rotation.SignNew, false},
		"the end":                {nil, rotation.DistrustOld, true},
		"self-signed at a start": {func(s *rehearsal.Spec) { s.Source = mesh.CASelfSigned }, rotation.SignNew, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				self, _ := ca(t, "S")
				b := newBench(t, func(s *rehearsal.Spec) {
					if row.mesh != nil {
						row.mesh(s)
					}
					if s.Source == mesh.CASelfSigned {
						s.CA = self
					}
				})
				if row.mesh != nil && name == "self-signed at a start" {
					b.oldRoot = self
				}
				b.engine.Timeout, b.engine.Until = time.Hour, row.until
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				b.unmake()
				b.engine.Until, b.engine.Back = "", row.back
				if err := b.run(); err != nil {
					t.Fatalf("it was deleted: %v", err)
				}
				if row.back {
					b.restored()
				} else {
					b.whole()
					b.ended()
				}
			})
		})
	}
}

// Where nobody may ask istiods, nobody knows what it held.
func TestDeletedAndNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.engine.Until = rotation.TrustNew
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.unmake()
		b.config.CSRProof, b.prober.CSR, b.engine.Until = false, false, ""
		if err := b.run(); !errors.Is(err, rotation.ErrForeign) {
			t.Errorf("it ends with %v", err)
		}
		if _, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Get(b.ctx, "cacerts", metav1.GetOptions{}); err == nil {
			t.Error("it is made all the same")
		}
	})
}
