package rotation_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// B: from every phase of an adoption the way back ends with the self-signed pair, from
// cacerts, and goes forward again.
func TestBackFromAdoption(t *testing.T) {
	for _, phase := range []rotation.Phase{rotation.Adopt, rotation.TrustNew, rotation.SignNew, rotation.DistrustOld} {
		if testing.Short() && phase != rotation.SignNew {
			continue
		}
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				self, _ := ca(t, "S")
				b := newBench(t, func(s *rehearsal.Spec) { brief(s); s.Source, s.CA = mesh.CASelfSigned, self })
				b.oldRoot = self
				b.config.Strategy, b.engine.Timeout, b.engine.Until = rotation.BundleByRenewal, 24*time.Hour, phase
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				b.engine.Until, b.engine.Back = "", true
				if err := b.run(); err != nil {
					t.Fatalf("back: %v", err)
				}
				b.whole()
				secret, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Get(b.ctx, "cacerts", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				key, err := self.KeyPEM()
				if err != nil {
					t.Fatal(err)
				}
				if pair := string(self.Cert.PEM()); string(secret.Data["root-cert.pem"]) != pair || string(secret.Data["ca-cert.pem"]) != pair || string(secret.Data["ca-key.pem"]) != string(key) {
					t.Error("cacerts does not hold the self-signed pair")
				}
				b.engine.Back = false
				if err := b.run(); err != nil {
					t.Fatalf("forward again: %v", err)
				}
				b.whole()
				b.ended()
			})
		})
	}
}
