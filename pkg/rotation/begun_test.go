package rotation_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What is kept of both CAs is what whoever carries on plans from. Where another run has
// begun, or ended and was retired, while somebody was asked, nothing is written by a plan
// that was made before.
func TestBegunMeanwhile(t *testing.T) {
	for name, row := range map[string]struct {
		begun     bool // it was under way when this was planned
		meanwhile func(*bench)
	}{
		"the same CA by another strategy": {false, func(b *bench) {
			config := b.config
			b.config.Cross, b.engine.Until = nil, rotation.Prepare
			if err := b.run(); err != nil {
				b.t.Fatal(err)
			}
			b.config, b.engine.Until = config, ""
		}},
		"retired": {true, func(b *bench) {
			if err := b.mesh.Kube.CoreV1().Secrets("istio-system").Delete(b.ctx, "meshca-staged", metav1.DeleteOptions{}); err != nil {
				b.t.Fatal(err)
			}
		}},
		"another's": {true, func(b *bench) {
			secrets := b.mesh.Kube.CoreV1().Secrets("istio-system")
			s, err := secrets.Get(b.ctx, "meshca-staged", metav1.GetOptions{})
			if err != nil {
				b.t.Fatal(err)
			}
			delete(s.Data, "new.cross-cert.pem")
			if _, err := secrets.Update(b.ctx, s, metav1.UpdateOptions{}); err != nil {
				b.t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, brief)
				b.cross()
				b.engine.Timeout = 3 * 24 * time.Hour
				if row.begun {
					b.engine.Until = rotation.SignNew
					if err := b.run(); err != nil {
						t.Fatal(err)
					}
					b.engine.Until = ""
				}
				s, err := b.collector().Collect(b.ctx)
				if err != nil {
					t.Fatal(err)
				}
				s.Gaps = nil
				b.prober.Strongest = false
				b.prober.Probe(b.ctx, s, []*pki.Certificate{b.oldRoot.Cert})
				config := b.config
				staged, err := rotation.FindStaged(b.ctx, b.mesh.Kube, "istio-system")
				if err != nil {
					t.Fatal(err)
				}
				if staged != nil {
					config = config.Resume(s, staged)
				}
				plan := rotation.NewPlan(s, config)
				if plan.Strategy != rotation.CrossSign {
					t.Fatalf("planned %s: %v", plan.Strategy, plan.Refusals)
				}
				row.meanwhile(b)
				secrets := b.mesh.Kube.CoreV1().Secrets("istio-system")
				before, err := secrets.Get(b.ctx, "cacerts", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if err := b.engine.Run(b.ctx, plan, staged); !errors.Is(err, rotation.ErrBegun) {
					t.Errorf("it ends with %v", err)
				}
				after, err := secrets.Get(b.ctx, "cacerts", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if before.ResourceVersion != after.ResourceVersion {
					t.Error("the CA is written")
				}
				b.whole()
			})
		})
	}
}
