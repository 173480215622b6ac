package scenario_test

import (
	"crypto/x509/pkix"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// TestS2_Recover: the CA has expired, and everybody refuses everybody. One command
// ends that, and what it has called done holds.
func TestS2_Recover(t *testing.T) {
	long := func(_ *bench, s *rehearsal.Spec) { s.TTL = 40 * time.Hour }
	for name, test := range map[string]struct {
		spec func(*bench, *rehearsal.Spec)
		// new gives the CA; outage is how long after the end somebody comes.
		new    func(*bench)
		outage time.Duration
	}{
		"expired root, leaves that outlive it":    {twinSpec(2*time.Hour, cold, inWaves, long), (*bench).renewed, time.Minute},
		"expired root, its key is at hand":        {twinSpec(2*time.Hour, selfSigned, unrenewed, inWaves), (*bench).renewed, time.Minute},
		"expired root, a new CA":                  {twinSpec(2*time.Hour, cold, inWaves), func(*bench) {}, time.Minute},
		"expired root, a new CA, hot":             {twinSpec(2*time.Hour, inWaves), func(*bench) {}, time.Minute},
		"expired root, self-signed, a new CA":     {twinSpec(2*time.Hour, selfSigned, unrenewed, inWaves), func(*bench) {}, time.Minute},
		"expired root and leaves, days later":     {twinSpec(2*time.Hour, cold, inWaves), func(*bench) {}, 50 * time.Hour},
		"expired intermediate under a good root":  {endingIntermediate(2 * time.Hour), underTheRoot, time.Minute},
		"expired intermediate, another root":      {endingIntermediate(2 * time.Hour), func(*bench) {}, 3 * time.Hour},
		"expired root, agents that read it once":  {twinSpec(2*time.Hour, cold, inWaves, release("1.19.3")), func(*bench) {}, time.Minute},
		"expired root, kubernetes.io/tls, 50 min": {twinSpec(2*time.Hour, cold, inWaves, tlsLayout), func(*bench) {}, 50 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, test.spec)
				time.Sleep(2*time.Hour + test.outage)
				if b.failing() == 0 {
					t.Fatal("nobody is refused: there is no outage")
				}
				test.new(b)
				b.trial.Config.Strategy = ""
				if out := b.trial.Run(b.ctx); !errors.Is(out.Err, rotation.ErrRefused) || out.Plan.Refusals[0].ID != "ca-ended" {
					t.Errorf("without --strategy recover it is not refused: %v, %v", out.Plan.Refusals, out.Err)
				}
				b.trial.Config.Strategy = rotation.Recover
				out := b.trial.Run(b.ctx)
				if out.Err != nil {
					t.Fatalf("it ends with %v, %v", out.Err, out.Plan.Refusals)
				}
				if !out.Proof.Open() {
					t.Errorf("it is done, and not proven: %v", out.Proof.Blockers)
				}
				at := func(kind rotation.EventKind) int {
					return slices.IndexFunc(out.Events, func(e rotation.Event) bool { return e.Kind == kind })
				}
				if istiods, workloads := at(rotation.EventRestart), at(rotation.EventWorkload); istiods < 0 || workloads >= 0 && workloads < istiods {
					t.Error("workloads were restarted before istiods")
				}
				text := strings.Join(out.Plan.Outage, "\n")
				for _, part := range []string{"broken since", "still works", "do not restart workloads by hand", "order: istiods", "cannot be saved"} {
					if !strings.Contains(text, part) {
						t.Errorf("the plan does not say %q:\n%s", part, text)
					}
				}
				time.Sleep(time.Minute)
				before := len(b.failed())
				if n := b.failing(); n > 0 {
					t.Errorf("%d pairs are still refused", n)
				}
				b.later()
				if n := len(b.failed()) - before; n > 0 {
					t.Errorf("FALSE PASS: it was called done, and %d pairs were refused later", n)
				}
				b.trial.Back = true
				if out := b.trial.Run(b.ctx); !errors.Is(out.Err, rotation.ErrRefused) || !slices.ContainsFunc(out.Plan.Refusals, func(r rotation.Refusal) bool { return r.ID == "no-way-back" && r.Hint != "" }) {
					t.Errorf("going back is not refused: %v, %v", out.Plan.Refusals, out.Err)
				}
			})
		})
	}
}

// TestS2_RecoverCitadel: the root of a Citadel has ended. It answers no request here, so
// that its Secrets and the Envoys' live contexts prove the end of the outage; those that
// miss new files are restarted, and no other.
func TestS2_RecoverCitadel(t *testing.T) {
	for name, workloads := range map[string][]rehearsal.Workload{
		"all follow their files": nil,
		"one misses new files":   {{Namespace: "a", Name: "one", Proxies: 2}, {Namespace: "b", Name: "stuck", Proxies: 2, Release: "1.1.5"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := citadelBench(t, "1.1.8", workloads...)
				time.Sleep(31 * day)
				if b.failing() == 0 {
					t.Fatal("nobody is refused: there is no outage")
				}
				b.renewed()
				if out := b.trial.Run(b.ctx); !errors.Is(out.Err, rotation.ErrRefused) || out.Plan.Refusals[0].ID != "ca-ended" {
					t.Errorf("without --strategy recover it is not refused: %v, %v", out.Plan.Refusals, out.Err)
				}
				b.trial.Config.Strategy = rotation.Recover
				out := b.trial.Run(b.ctx)
				if out.Err != nil {
					t.Fatalf("it ends with %v, %v", out.Err, out.Plan.Refusals)
				}
				if !out.Proof.Open() || out.Proof.Secrets.Of == 0 {
					t.Errorf("it is done, and not proven: %+v", out.Proof)
				}
				for _, e := range out.Events {
					if e.Kind == rotation.EventWorkload && !strings.Contains(e.Object, "stuck") {
						t.Errorf("restarted: %s", e.Object)
					}
				}
				text := strings.Join(out.Plan.Outage, "\n") + out.Plan.Why
				for _, part := range []string{"broken since", "Citadel", "Galley, Pilot and the injector"} {
					if !strings.Contains(text, part) {
						t.Errorf("the plan does not say %q:\n%s", part, text)
					}
				}
				if strings.Contains(text, "istiod") || strings.Contains(text, "push") {
					t.Errorf("the plan speaks of what is not there:\n%s", text)
				}
				time.Sleep(time.Minute)
				if n := b.failing(); n > 0 {
					t.Errorf("FALSE PASS: %d pairs are still refused", n)
				}
			})
		})
	}
}

// failing is how many pairs would be refused now.
func (b *bench) failing() int {
	b.t.Helper()
	b.failed() // all that has happened is judged
	return b.mesh.Traffic().Failing
}

// endingIntermediate hangs from a root that lives on.
func endingIntermediate(lifetime time.Duration) func(*bench, *rehearsal.Spec) {
	return func(b *bench, s *rehearsal.Spec) {
		twinSpec(300*time.Hour, cold, inWaves)(b, s)
		signer, err := b.oldRoot.NewIntermediate(pki.Request{Subject: pkix.Name{CommonName: "short"}, Now: time.Now(), Lifetime: lifetime})
		b.must(err)
		b.old, s.CA = signer, signer
	}
}

// underTheRoot gives the mesh another intermediate of its own root.
func underTheRoot(b *bench) {
	signer, err := b.oldRoot.NewIntermediate(pki.Request{Subject: pkix.Name{CommonName: "next"}, Now: time.Now()})
	b.must(err)
	b.trial.Config.New = signer
}

// unrenewed has istiods leave their self-signed root to its end.
func unrenewed(_ *bench, s *rehearsal.Spec) {
	s.Env = map[string]string{"CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL": "0"}
}

// TestS2_RecoverBesideOneUnread: where nothing can be lost any more, whoever cannot be read
// holds up nobody else. Here it is made anew with the others of its workload.
func TestS2_RecoverBesideOneUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twinSpec(2*time.Hour, cold, inWaves, release("1.19.3")))
		time.Sleep(2*time.Hour + time.Minute)
		s, err := b.trial.Look(b.ctx)
		b.must(err)
		b.mesh.Freeze(s.Proxies[0].Ref())
		b.trial.Config.Strategy = rotation.Recover
		if out := b.trial.Run(b.ctx); out.Err != nil || !out.Proof.Open() {
			t.Errorf("it ends with %v, %v; %v", out.Err, out.Plan.Refusals, out.Proof.Blockers)
		}
	})
}
