package scenario_test

import (
	"context"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rootFor makes the mesh's root live for so long.
func rootFor(b *bench, lifetime time.Duration) {
	b.t.Helper()
	root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{Organization: []string{"cluster.local"}}, Now: time.Now(), Lifetime: lifetime, PathLen: -1})
	b.must(err)
	b.oldRoot = root
	// The intermediate outlives its root, as openssl lets it.
	longer, err := root.RenewRoot(time.Now(), 0)
	b.must(err)
	b.old, err = longer.NewIntermediate(pki.Request{Subject: pkix.Name{CommonName: "intermediate A"}, Now: time.Now()})
	b.must(err)
	b.old.Roots = pki.NewBundle(root.Cert)
}

// renewed has the trial certify the mesh's root anew.
func (b *bench) renewed() {
	b.t.Helper()
	s, err := b.trial.Look(b.ctx)
	b.must(err)
	ca, err := rotation.Renewed(b.ctx, b.mesh.Kube, s, b.oldRoot.Key, time.Now())
	b.must(err)
	b.trial.Config.New, b.trial.Config.Strategy = ca, rotation.SameKey
}

func (b *bench) secret(name string) *corev1.Secret {
	b.t.Helper()
	secret, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Get(b.ctx, name, metav1.GetOptions{})
	b.must(err)
	return secret
}

// key is what a CA Secret holds as its key.
func (b *bench) key(name string) string {
	b.t.Helper()
	data := b.secret(name).Data
	return string(data[pki.KeyFile]) + string(data["tls.key"])
}

func twinSpec(lifetime time.Duration, changes ...func(*bench, *rehearsal.Spec)) func(*bench, *rehearsal.Spec) {
	return func(b *bench, s *rehearsal.Spec) {
		rootFor(b, lifetime)
		s.CA = b.old
		s.Spread, s.Random, s.FileLag = 2*time.Second, rand.New(rand.NewPCG(1, 2)), 20*time.Second
		both(changes...)(b, s)
	}
}

// past is beyond the end of the old certificate, and some renewals more.
const past = 30 * time.Hour

// TestS6_SameKey: one write, in place, and the old certificate is out of every bundle
// before it ends: nothing fails then, or later.
func TestS6_SameKey(t *testing.T) {
	for name, test := range map[string]struct {
		spec     func(*bench, *rehearsal.Spec)
		secret   string
		restarts bool
	}{
		"self-signed, hot":                   {twinSpec(20*time.Hour, func(b *bench, s *rehearsal.Spec) { s.Source, s.CA = mesh.CASelfSigned, b.oldRoot }), "istio-ca-secret", false},
		"self-signed, hot, minutes are left": {twinSpec(25*time.Minute, func(b *bench, s *rehearsal.Spec) { s.Source, s.CA = mesh.CASelfSigned, b.oldRoot }, inWaves), "istio-ca-secret", true},
		"self-signed":                        {twinSpec(20*time.Hour, selfSigned), "istio-ca-secret", false},
		"self-signed, old release":           {twinSpec(20*time.Hour, selfSigned, release("1.19.3"), slowFiles, inWaves), "istio-ca-secret", true},
		"plugged":                            {twinSpec(20*time.Hour, cold), "cacerts", false},
		"plugged, hot":                       {twinSpec(20 * time.Hour), "cacerts", false},
		"plugged, hot, 1.24.4":               {twinSpec(20*time.Hour, release("1.24.5")), "cacerts", false},
		"kubernetes.io/tls":                  {twinSpec(20*time.Hour, cold, tlsLayout), "cacerts", false},
		"hours are left":                     {twinSpec(25*time.Minute, cold, inWaves), "cacerts", true},
		"a virtual machine":                  {twinSpec(20*time.Hour, cold, func(_ *bench, s *rehearsal.Spec) { s.VMs = []string{"vm"} }), "cacerts", false},
		"another mesh's root":                {twinSpec(20*time.Hour, cold, foreign), "cacerts", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, test.spec)
				b.trial.Accept = map[string]string{"a/vm": "it is off"}
				uid := b.secret(test.secret).UID
				key := b.key(test.secret)
				b.renewed()
				out := b.trial.Run(b.ctx)
				if out.Err != nil {
					t.Fatalf("it ends with %v, %v", out.Err, out.Plan.Refusals)
				}
				if !out.Proof.Open() {
					t.Errorf("it is done, and not proven: %v", out.Proof.Blockers)
				}
				if now := b.secret(test.secret); now.UID != uid || b.key(test.secret) != key {
					t.Error("the Secret was not changed in place, or its key is another")
				}
				waves := slices.ContainsFunc(out.Events, func(e rotation.Event) bool { return e.Kind == rotation.EventWorkload })
				if waves != test.restarts {
					t.Errorf("workloads restarted: %v, the plan: %s", waves, out.Plan.Why)
				}
				if waves && out.Plan.Cost.WorkloadRestarts == 0 {
					t.Error("the plan does not say that workloads are restarted")
				}
				if failed := b.failed(); len(failed) > 0 {
					t.Fatalf("while it was at work: %v", failed[0])
				}
				time.Sleep(past)
				b.later()
				if failed := b.failed(); len(failed) > 0 {
					t.Errorf("when the old certificate had ended: %v", failed[0])
				}
			})
		})
	}
}

// inWaves: proxies that something replaces.
func inWaves(_ *bench, s *rehearsal.Spec) {
	s.Proxies = 0
	s.Workloads = []rehearsal.Workload{{Namespace: "a", Name: "one", Proxies: 2}, {Namespace: "b", Name: "two", Proxies: 2}}
}

// TestS6_SameKeyByHand: what the renewal guards against breaks the mesh in memory
// too: the same key under the identifier that another tool makes of it.
func TestS6_SameKeyByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twinSpec(20*time.Hour, selfSigned))
		template := *b.oldRoot.Cert.X509
		template.SerialNumber, template.SubjectKeyId, template.AuthorityKeyId = big.NewInt(7), []byte{1, 2, 3}, []byte{1, 2, 3}
		template.NotAfter = time.Now().Add(pki.RootLifetime)
		der, err := x509.CreateCertificate(crand.Reader, &template, &template, b.oldRoot.Key.Public(), b.oldRoot.Key)
		b.must(err)
		b.change("istio-ca-secret", func(s *corev1.Secret) { s.Data[pki.CertFile] = pki.NewCertificate(der).PEM() })
		b.restart()
		time.Sleep(ttl)
		if len(b.failed()) == 0 {
			t.Error("nothing failed: the mesh in memory does not judge key identifiers")
		}
	})
}

// TestS6_SameKeyKilled: wherever the process is killed, the same command goes on,
// and nobody is refused meanwhile.
func TestS6_SameKeyKilled(t *testing.T) {
	for _, source := range []mesh.CAKind{mesh.CASelfSigned, mesh.CAPlugged} {
		step := 11
		if testing.Short() {
			step = 40
		}
		for kill := 11; kill < 120; kill += step {
			t.Run(fmt.Sprint(source, " at call ", kill), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					spec := twinSpec(20*time.Hour, cold)
					if source == mesh.CASelfSigned {
						spec = twinSpec(20*time.Hour, selfSigned)
					}
					b := newBench(t, spec)
					b.renewed()
					ctx, cancel := context.WithCancelCause(b.ctx)
					defer cancel(nil)
					b.mesh.Kill(kill, func() { cancel(errors.New("killed")) })
					out := b.trial.Run(ctx)
					b.mesh.Mend()
					b.trial.Holder = "the next"
					if out.Err != nil {
						time.Sleep(2 * time.Minute)
						out = b.trial.Run(b.ctx)
					}
					if out.Err != nil || !out.Proof.Open() {
						t.Fatalf("mended, it ends with %v, %v", out.Err, out.Proof.Blockers)
					}
					time.Sleep(past)
					b.later()
					if failed := b.failed(); len(failed) > 0 {
						t.Errorf("%v", failed[0])
					}
				})
			})
		}
	}
}

// TestS6_SameKeyBack: the way back is as quiet, and ends with the old certificate.
func TestS6_SameKeyBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twinSpec(200*time.Hour, selfSigned))
		before := b.secret("istio-ca-secret").Data
		b.renewed()
		if out := b.trial.Run(b.ctx); out.Err != nil {
			t.Fatal(out.Err)
		}
		b.trial.Config.Back = true
		if out := b.trial.Run(b.ctx); out.Err != nil {
			t.Fatalf("the way back ends with %v", out.Err)
		}
		if after := b.secret("istio-ca-secret").Data; !maps.EqualFunc(before, after, slices.Equal) {
			t.Error("the Secret is not what it was")
		}
		b.later()
		if failed := b.failed(); len(failed) > 0 {
			t.Error(failed[0])
		}
	})
}

// TestS6_SameKeyRefused: not for a key that somebody else has, and not where another
// root stays in the mesh config.
func TestS6_SameKeyRefused(t *testing.T) {
	for name, test := range map[string]struct {
		spec   func(*bench, *rehearsal.Spec)
		change func(*bench)
		id     string
	}{
		"compromised":      {twinSpec(200 * time.Hour), func(b *bench) { b.trial.Config.Reason = rotation.Compromised }, "no-same-key"},
		"another key":      {twinSpec(200 * time.Hour), func(b *bench) { b.trial.Config.New = b.new }, "no-same-key"},
		"already expired":  {twinSpec(time.Hour), func(*bench) { time.Sleep(2 * time.Hour) }, "ca-ended"},
		"roots beside it":  {twinSpec(200*time.Hour, selfSigned, foreign), func(*bench) {}, "self-signed-bundle"},
		"another strategy": {twinSpec(200 * time.Hour), func(b *bench) { b.trial.Config.Strategy = rotation.HotBundle }, "no-hot-bundle"},
		"no outage":        {twinSpec(200 * time.Hour), func(b *bench) { b.trial.Config.Strategy = rotation.Recover }, "no-recover"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, test.spec)
				b.renewed()
				test.change(b)
				out := b.trial.Run(b.ctx)
				if !errors.Is(out.Err, rotation.ErrRefused) || !slices.ContainsFunc(out.Plan.Refusals, func(r rotation.Refusal) bool { return r.ID == test.id && r.Hint != "" }) {
					t.Errorf("it is not refused by %s: %v, %v", test.id, out.Plan.Refusals, out.Err)
				}
			})
		})
	}
}

// TestS6_SameKeyRestartLost: killed between the note that istiods are restarted and
// the restart itself, in the second in which they were started: whoever carries on
// restarts them all the same.
func TestS6_SameKeyRestartLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twinSpec(20*time.Hour, selfSigned))
		b.renewed()
		b.mesh.Inject(rehearsal.Fault{Verb: "patch", Resource: "deployments", Err: errors.New("the server is broken")})
		if out := b.trial.Run(b.ctx); out.Err == nil {
			t.Fatal("the restart was not lost")
		}
		b.mesh.Mend()
		if out := b.trial.Run(b.ctx); out.Err != nil || !out.Proof.Open() {
			t.Errorf("it does not go on: %v", out.Err)
		}
	})
}
