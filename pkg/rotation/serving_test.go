package rotation_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// served observes istiods that may not be asked to sign.
type served struct{ *bench }

func (o served) Observe(ctx context.Context, asked rotation.Observation) (*mesh.Snapshot, error) {
	o.prober.CSR = false
	s, err := o.bench.Observe(ctx, asked)
	if err != nil {
		return nil, err
	}
	for i := range s.ControlPlanes {
		for j := range s.ControlPlanes[i].Replicas {
			r := &s.ControlPlanes[i].Replicas[j]
			r.SignedError, r.ProofForbidden = "forbidden", true
		}
	}
	return s, nil
}

// Where no request may be made what istiods serve is the next best evidence, but not where
// their CA has not made it: then no gate opens on it, though a look at a gate does not read
// the Secret that says so.
func TestServedIsNoEvidenceBesideACertificateOfItsOwn(t *testing.T) {
	for _, own := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, brief)
			b.sameRoot()
			b.engine.Observer = served{b}
			if own {
				secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod-tls"}, Data: map[string][]byte{"tls.crt": {1}, "tls.key": {1}}}
				if _, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Create(b.ctx, secret, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			err := b.run()
			var gate *rotation.GateError
			switch {
			case !own && err != nil:
				t.Errorf("it is not proven by what istiods serve: %v", err)
			case own && (!errors.As(err, &gate) || !strings.Contains(gate.Status.Blockers[0].Why, "forbidden")):
				t.Errorf("it is proven by what istiods serve, who do not by their CA: %v", err)
			}
		})
	}
}
