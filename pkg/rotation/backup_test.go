package rotation_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// What was copied is read back byte for byte, and no way to print it shows it.
func TestBackupRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z]{1,8}`)
		b := rotation.Backup{Secrets: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) rotation.SecretCopy {
			return rotation.SecretCopy{Namespace: name.Draw(t, "namespace"), Name: name.Draw(t, "name"), Type: corev1.SecretType(rapid.String().Draw(t, "type")),
				Labels: rapid.MapOf(name, name).Draw(t, "labels"), Data: rapid.MapOfN(name, rapid.SliceOfN(rapid.Byte(), 1, 40), 1, 4).Draw(t, "data")}
		}), 1, 3).Draw(t, "secrets")}
		raw, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := rotation.ParseBackup(raw)
		if err != nil || len(again.Secrets) != len(b.Secrets) {
			t.Fatalf("%+v: %v", again, err)
		}
		for i, s := range again.Secrets {
			if !s.Same(&corev1.Secret{Data: b.Secrets[i].Data}) {
				t.Fatalf("%v is another", s)
			}
		}
	})
	secret := rotation.SecretCopy{Namespace: "n", Name: "s", Data: map[string][]byte{"ca-key.pem": []byte("MARK")}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(verb, []rotation.SecretCopy{secret}); strings.Contains(text, "MARK") || strings.Contains(text, "77") {
			t.Errorf("%s shows it: %s", verb, text)
		}
	}
}

// What is no copy is refused, without a word of it.
func TestParseBackupRefuses(t *testing.T) {
	for _, text := range []string{"", "MARK", "a: [MARK", `{"apiVersion":"meshca.io/v1alpha1","kind":"Snapshot","secrets":[{"namespace":"a","name":"MARK"}]}`,
		`{"apiVersion":"meshca.io/v1alpha1","kind":"Backup"}`, `{"apiVersion":"meshca.io/v1alpha1","kind":"Backup","secrets":[{"namespace":"a","name":"b"}]}`,
		"rotation: x\nsecret: a/b\nfiles: {new/root-key.pem: MARK}", "rotation: x\nsecret: ab\nfiles: {old/x: MARK}", "-----BEGIN EC PRIVATE KEY-----\nMARK\n"} {
		b, err := rotation.ParseBackup([]byte(text))
		if err == nil {
			t.Errorf("%q is a copy of %v", text, b.Secrets)
		} else if strings.Contains(err.Error(), "MARK") {
			t.Errorf("the error repeats it: %v", err)
		}
	}
}

func sealedCopy(b *bench) rotation.SecretCopy {
	b.t.Helper()
	all, err := rotation.CopySecrets(b.ctx, b.mesh.Kube, "istio-system")
	if err != nil {
		b.t.Fatal(err)
	}
	return all[0]
}

func (b *bench) look() *mesh.Snapshot {
	b.t.Helper()
	c := b.collector()
	c.Dynamic = b.mesh.Dynamic // without it virtual machines are a gap, which is a risk
	s, err := c.Collect(b.ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// One write back is safe exactly while the mesh trusts both roots: what SwapRisks
// says, the rehearsed proxies' own handshakes bear out.
func TestSwapRisks(t *testing.T) {
	for _, until := range []rotation.Phase{rotation.TrustNew, rotation.SignNew, ""} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, func(s *rehearsal.Spec) {
				if until == "" { // where a swap is slow enough to be seen
					cold(s)
				}
			})
			if until == "" {
				b.cross()
				b.engine.Timeout = 3 * 24 * time.Hour
			}
			before := sealedCopy(b)
			if risks := rotation.SwapRisks(b.look(), before); len(risks) > 0 {
				t.Fatalf("what stands there is a risk: %v", risks)
			}
			b.engine.Until = until
			if err := b.run(); err != nil {
				t.Fatal(err)
			}
			risks := rotation.SwapRisks(b.look(), before)
			there, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Get(b.ctx, "cacerts", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := rotation.Restore(b.ctx, b.mesh.Kube, "ann@laptop/1", time.Now, before, there, false); err != nil {
				t.Fatal(err)
			}
			patch := []byte(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`)
			if _, err := b.mesh.Kube.AppsV1().Deployments("istio-system").Patch(b.ctx, "istiod", "application/strategic-merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(6 * time.Hour)
			failed, _ := b.mesh.Failures()
			if safe := len(risks) == 0; safe != (until == rotation.TrustNew) || safe && len(failed) > 0 {
				t.Errorf("until %q: %d risks, %d handshakes failed", until, len(risks), len(failed))
			}
			if until == "" && len(failed) == 0 {
				t.Error("a swap failed no handshake: the ground truth sees nothing")
			}
			if err := rotation.Restore(b.ctx, b.mesh.Kube, "ann@laptop/1", time.Now, before, there, false); err == nil {
				t.Error("a write at a version that is gone went through")
			}
		})
	}
}

// Who cannot be read is a risk, and so is a copy that is no CA.
func TestSwapRisksUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		before := sealedCopy(b)
		b.mesh.Freeze("b/app-1")
		risks := rotation.SwapRisks(b.look(), before)
		if len(risks) != 1 || risks[0].Object != "b/app-1" || !risks[0].Unknown {
			t.Errorf("%v", risks)
		}
		_, other := ca(t, "C")
		key, err := other.KeyPEM()
		if err != nil {
			t.Fatal(err)
		}
		before.Data["ca-key.pem"] = key
		if risks := rotation.SwapRisks(b.look(), before); len(risks) != 1 || risks[0].Kind != "secret" || strings.Contains(risks[0].Why, "PRIVATE") {
			t.Errorf("a key of another CA: %v", risks)
		}
	})
}

// A Secret's type stays, an immutable one too; kubectl's copy of the key goes, other
// annotations and labels stay.
func TestRestoreInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		secrets := b.mesh.Kube.CoreV1().Secrets("istio-system")
		there, err := secrets.Get(b.ctx, "cacerts", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		there.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "key", "team": "x"}
		there.Labels = map[string]string{"mine": "y"}
		copied := sealedCopy(b)
		copied.Labels = map[string]string{"sealed": "z"}
		copied.Data = map[string][]byte{pki.RootFile: []byte("r")}
		if err := rotation.Restore(b.ctx, b.mesh.Kube, "ann@laptop/1", time.Now, copied, there, false); err != nil {
			t.Fatal(err)
		}
		now, err := secrets.Get(b.ctx, "cacerts", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(now.Annotations) != 1 || now.Annotations["team"] != "x" || now.Labels["mine"] != "y" || now.Labels["sealed"] != "z" || !copied.Same(now) {
			t.Errorf("%v %v", now.ObjectMeta, copied)
		}
		immutable := true
		frozen := now.DeepCopy()
		frozen.Immutable = &immutable
		copied.Type = corev1.SecretTypeTLS
		for want, err := range map[error]error{
			rotation.ErrType:      rotation.Restore(b.ctx, b.mesh.Kube, "ann@laptop/1", time.Now, copied, now, false),
			rotation.ErrImmutable: rotation.Restore(b.ctx, b.mesh.Kube, "ann@laptop/1", time.Now, rotation.SecretCopy{Namespace: "istio-system", Name: "cacerts"}, frozen, false),
		} {
			if !errors.Is(err, want) {
				t.Errorf("%v, not %v", err, want)
			}
		}
		if err := rotation.Restore(b.ctx, b.mesh.Kube, "ann@laptop/1", time.Now, rotation.SecretCopy{Namespace: "istio-system", Name: "none"}, nil, false); !errors.Is(err, rotation.ErrType) {
			t.Errorf("a secret of no type was made: %v", err)
		}
	})
}
