package scenario_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal/scenario"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// managedBench is a cold mesh whose cacerts cert-manager writes.
func managedBench(t *testing.T, more ...func(*bench, *rehearsal.Spec)) (*bench, *rehearsal.CertManager) {
	t.Helper()
	b := newBench(t, both(append([]func(*bench, *rehearsal.Spec){cold, tlsLayout}, more...)...))
	c, err := b.mesh.Manage(b.oldRoot)
	b.must(err)
	return b, c
}

// stillThere watches that cacerts is the same object, of the same type, at every moment.
func (b *bench) stillThere() {
	b.t.Helper()
	s, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Get(b.ctx, "cacerts", metav1.GetOptions{})
	b.must(err)
	if s.UID != "cacerts" || s.Type != "kubernetes.io/tls" || len(s.Data["tls.key"]) == 0 {
		b.t.Errorf("cacerts is not what it was: %s %s", s.UID, s.Type)
	}
}

func (b *bench) manage(act rotation.Act) scenario.ManagedOutcome {
	b.t.Helper()
	out := b.trial.Manage(b.ctx, act)
	if failed := b.failed(); len(failed) > 0 {
		b.t.Errorf("%s: %v", act, failed[0])
	}
	b.stillThere()
	return out
}

func refusedBy(m *rotation.Managed, id string) bool {
	return slices.ContainsFunc(m.Refusals, func(r rotation.Refusal) bool { return r.ID == id && r.Hint != "" })
}

// Another intermediate on demand, proven on every istiod and proxy, and nothing that
// breaks later.
func TestS16_RenewBehindCertManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := managedBench(t)
		out := b.manage(rotation.Renew)
		if out.Err != nil || c.Issued != 1 || out.Events[len(out.Events)-1].Kind != rotation.EventDone {
			t.Fatalf("%d issued: %v", c.Issued, out.Err)
		}
		s, err := b.trial.Look(b.ctx)
		b.must(err)
		signer := s.ControlPlanes[0].CA.Cert.Certs[0]
		for _, r := range s.ControlPlanes[0].Replicas {
			if !r.Signed.Chain[0].SignedBy(signer) {
				t.Errorf("%s signs with another", r.Pod)
			}
		}
		for _, p := range s.Proxies {
			if i := p.Loaded.Identities[0]; !i.Chain[0].SignedBy(signer) {
				t.Errorf("%s has a leaf of another", p.Ref())
			}
		}
		b.later()
		if len(b.failed()) > 0 {
			t.Errorf("later: %v", b.failed()[0])
		}
	})
}

// A renewal that keeps the key, as cert-manager before 1.18 does unless told otherwise:
// a leaf of before is signed by the new certificate's key too, and comes with the old
// certificate, which ends soon. Only what is sent behind a leaf tells.
func TestS16_RenewedWithItsKey(t *testing.T) {
	for _, proof := range []bool{true, false} {
		t.Run(fmt.Sprintf("csr proof %t", proof), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, c := managedBench(t)
				b.must(c.KeepKey("ECDSA"))
				b.trial.Config.CSRProof = proof
				signer := func() (*pki.Certificate, *mesh.Snapshot) {
					s, err := b.trial.Look(b.ctx)
					b.must(err)
					return s.ControlPlanes[0].CA.Cert.Certs[0], s
				}
				before, _ := signer()
				out := b.manage(rotation.Renew)
				after, s := signer()
				if out.Err != nil || c.Issued != 1 || after.Equal(before) || !pki.SameKey(after.X509.PublicKey, before.X509.PublicKey) {
					t.Fatalf("%d issued, %s: %v", c.Issued, after.Fingerprint().Short(), out.Err)
				}
				for _, r := range s.ControlPlanes[0].Replicas {
					if r.Served != nil && slices.ContainsFunc(r.Served.Chain, before.Equal) {
						t.Errorf("FALSE PASS: %s serves the certificate of before", r.Pod)
					}
				}
				for _, p := range s.Proxies {
					if slices.ContainsFunc(p.Loaded.Identities[0].Chain, before.Equal) {
						t.Errorf("FALSE PASS: %s presents the certificate of before", p.Ref())
					}
				}
			})
		})
	}
}

// What would not end well is refused before anything is changed, each with its hint.
func TestS12_RefusedBehindCertManager(t *testing.T) {
	for _, row := range []struct {
		name, refused string
		act           rotation.Act
		finds         string
		spec          func(*bench, *rehearsal.Spec)
		spoil         func(*bench, *rehearsal.CertManager)
	}{
		{name: "another root behind the issuer", act: rotation.Renew, refused: "root-changes", finds: "cert-manager-root-changes", spoil: func(b *bench, c *rehearsal.CertManager) { b.must(c.Behind(b.newRoot)) }},
		{name: "an istiod that loads nothing", act: rotation.Renew, refused: "not-loaded", finds: "cert-manager-not-loaded", spec: env("AUTO_RELOAD_PLUGIN_CERTS", "false")},
		{name: "returned without a release", act: rotation.Return, refused: "root-changes", spoil: func(b *bench, c *rehearsal.CertManager) { b.must(c.Behind(b.newRoot)) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				spec := func(*bench, *rehearsal.Spec) {}
				if row.spec != nil {
					spec = both(row.spec, func(_ *bench, s *rehearsal.Spec) { s.Release = "1.17.0" })
				}
				b, c := managedBench(t, spec)
				if row.spoil != nil {
					row.spoil(b, c)
				}
				out := b.manage(row.act)
				if !errors.Is(out.Err, rotation.ErrRefused) || !refusedBy(out.Managed, row.refused) || c.Issued != 0 {
					t.Errorf("%d issued, refused %v: %v", c.Issued, out.Managed.Refusals, out.Err)
				}
				if row.finds != "" && !slices.ContainsFunc(out.Check.Findings, func(f finding) bool { return f.ID == row.finds }) {
					t.Errorf("check does not find %s", row.finds)
				}
			})
		})
	}
}

// cert-manager that has written another root already: istiods have refused it, and the
// next restart would cut over. With the old root back behind the issuer a renewal
// brings the Secret to a state that is safe to load.
func TestS12_RootThatWaitsBehindCertManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := managedBench(t)
		b.must(c.Behind(b.newRoot))
		c.Renew()
		time.Sleep(time.Minute)
		out := b.manage(rotation.Renew)
		if !refusedBy(out.Managed, "root-changes") || !slices.ContainsFunc(out.Check.Findings, func(f finding) bool { return f.ID == "cert-manager-root-waits" && f.Hint != "" }) {
			t.Errorf("not seen: %v, %v", out.Managed.Refusals, out.Check.Findings)
		}
		b.must(c.Behind(b.oldRoot))
		if out = b.manage(rotation.Renew); out.Err != nil {
			t.Fatalf("not mended: %v", out.Err)
		}
		b.later()
		if len(b.failed()) > 0 {
			t.Errorf("later: %v", b.failed()[0])
		}
	})
}

// The same, where nobody helps: it does go wrong, so that the row above shows something.
func TestS12_RootThatWaitsCutsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := managedBench(t)
		b.must(c.Behind(b.newRoot))
		c.Renew()
		b.later()
		if len(b.failed()) == 0 {
			t.Error("a root that istiod refuses does no harm here")
		}
	})
}

// A key that cert-manager keeps, and that is not of the kind that its Certificate asks for:
// it would issue nothing for ever. That is seen before anybody is asked to, and with the
// remedy of the refusal the Secret is returned.
func TestS12_KeyThatCannotBeKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := managedBench(t)
		b.must(c.KeepKey("RSA"))
		out := b.manage(rotation.Release)
		if out.Err != nil || !slices.ContainsFunc(out.Managed.Warnings, func(r rotation.Refusal) bool { return r.ID == "key-kept" && r.Hint != "" }) {
			t.Fatalf("released: %v, %v", out.Managed.Warnings, out.Err)
		}
		asked := b.asked()
		b.trial.Timeout = time.Minute
		if out := b.manage(rotation.Return); !refusedBy(out.Managed, "key-kept") || b.asked() != asked {
			t.Errorf("returned: %v, %v", out.Managed.Refusals, out.Err)
		}
		b.trial.Timeout = 0
		certificates := rotation.CertificatesOf(b.mesh.Dynamic, "istio-system")
		o, err := certificates.Get(b.ctx, "cacerts", metav1.GetOptions{})
		b.must(err)
		b.must(unstructured.SetNestedField(o.Object, "Always", "spec", "privateKey", "rotationPolicy"))
		_, err = certificates.Update(b.ctx, o, metav1.UpdateOptions{})
		b.must(err)
		if out := b.manage(rotation.Return); out.Err != nil {
			t.Errorf("with the remedy: %v", out.Err)
		}
	})
}

// A controller that does nothing, or fails: an end in time that says so, and a mesh as
// it was; the same command goes on later.
func TestS16_CertManagerThatDoesNotIssue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := managedBench(t)
		c.Stop()
		b.trial.Timeout = time.Minute
		var gate *rotation.GateError
		if out := b.manage(rotation.Renew); !errors.As(out.Err, &gate) || !gate.TimedOut {
			t.Errorf("down: %v", out.Err)
		}
		b.trial.Timeout = 0
		c.Start()
		if out := b.manage(rotation.Renew); out.Err != nil || c.Issued != 1 {
			t.Errorf("%d issued: %v", c.Issued, out.Err)
		}
		c.Fail("the issuer refused")
		if out := b.manage(rotation.Renew); !errors.Is(out.Err, rotation.ErrNotIssued) {
			t.Errorf("fails: %v", out.Err)
		}
	})
}

// A renewal that was asked for, and refused while another process waits for it: the
// certificate of before is ready still, and no new one.
func TestS16_ResumedRenewalThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := managedBench(t)
		c.Stop()
		b.trial.Timeout = time.Minute
		if out := b.manage(rotation.Renew); out.Err == nil {
			t.Fatal("nobody issues, and it is done")
		}
		c.Fail("an approver has denied it")
		time.AfterFunc(2*time.Second, c.Renew)
		if out := b.manage(rotation.Renew); !errors.Is(out.Err, rotation.ErrNotIssued) || !strings.Contains(out.Err.Error(), "an approver has denied it") {
			t.Errorf("it ends with %v", out.Err)
		}
	})
}

// Another root behind cert-manager: released, replaced, returned. Nothing breaks, and
// cacerts is there throughout.
func TestS12_AnotherRootBehindCertManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := managedBench(t)
		if out := b.trial.Run(b.ctx); !slices.ContainsFunc(out.Plan.Refusals, func(r rotation.Refusal) bool { return r.ID == "owned-secret" }) {
			t.Errorf("rotated under cert-manager's hands: %v", out.Err)
		}
		if out := b.manage(rotation.Release); out.Err != nil {
			t.Fatal(out.Err)
		}
		s, err := b.trial.Look(b.ctx)
		b.must(err)
		if len(s.ControlPlanes[0].CA.Owners) > 0 || s.ManagedCAs[0].Secret == "cacerts" || s.ManagedCAs[0].Released != "cacerts" {
			t.Errorf("not released: %v, %+v", s.ControlPlanes[0].CA.Owners, s.ManagedCAs[0])
		}
		b.must(c.Behind(b.newRoot)) // whoever is early does no harm now
		c.Renew()
		out := b.trial.Run(b.ctx)
		if out.Err != nil || !out.Proof.Open() {
			t.Fatalf("rotated: %v", out.Err)
		}
		b.stillThere()
		if out := b.manage(rotation.Return); !refusedBy(out.Managed, "rotation-open") {
			t.Errorf("returned while the rotation may go back: %v", out.Err)
		}
		b.must(rotation.Retire(b.ctx, b.mesh.Kube, "rehearsal", time.Now, "istio-system", out.Plan.ID))
		if out := b.manage(rotation.Return); out.Err != nil {
			t.Fatal(out.Err)
		}
		if s, err = b.trial.Look(b.ctx); err != nil || s.ManagedCAs[0].Secret != "cacerts" || s.ManagedCAs[0].Released != "" || !s.ControlPlanes[0].CA.Root.Certs[0].Equal(b.newRoot.Cert) || s.ControlPlanes[0].CA.Cert.Certs[0].Equal(b.new.Cert) {
			t.Errorf("not returned: %+v", s.ManagedCAs[0])
		}
		b.later()
		if len(b.failed()) > 0 {
			t.Errorf("later: %v", b.failed()[0])
		}
	})
}

// Killed at any call of a release or return, the same command goes on; cacerts is
// there, and nothing breaks.
func TestS12_KilledBehindCertManager(t *testing.T) {
	for n := 1; n < 400; n += 57 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, _ := managedBench(t)
				for _, act := range []rotation.Act{rotation.Release, rotation.Return, rotation.Renew} {
					ctx, cancel := context.WithCancel(b.ctx)
					b.mesh.Kill(n, cancel)
					out := b.trial.Manage(ctx, act)
					cancel()
					b.mesh.Mend()
					if out.Err != nil {
						time.Sleep(2 * time.Minute) // its lease runs out
						if out = b.manage(act); out.Err != nil {
							t.Fatalf("%s does not go on: %v", act, out.Err)
						}
					}
					b.stillThere()
				}
				b.later()
				if len(b.failed()) > 0 {
					t.Errorf("later: %v", b.failed()[0])
				}
			})
		})
	}
}

// A Certificate that somebody else has changed meanwhile is not written over, and a
// refusal of the API server is one of the command.
func TestS16_ConflictBehindCertManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := managedBench(t)
		b.mesh.Inject(rehearsal.Fault{Verb: "update", Resource: "certificates", Err: apierrors.NewForbidden(schema.GroupResource{Resource: "certificates"}, "cacerts", errors.New("no"))})
		if out := b.manage(rotation.Renew); !apierrors.IsForbidden(out.Err) || c.Issued != 0 {
			t.Errorf("%d issued: %v", c.Issued, out.Err)
		}
	})
}

// A mesh that is not whole any more once the Secret is released: it is not said that
// nothing was changed, and the same command goes on.
func TestS12_ReleasedAndNotWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := managedBench(t)
		b.trial.Timeout = 5 * time.Minute
		var after []rotation.Event
		b.trial.Emit = func(e rotation.Event) {
			if e.Kind == rotation.EventWrite && strings.Contains(e.Message, "marks are off") {
				b.mesh.Freeze("b/app-1")
				after = []rotation.Event{}
			} else if after != nil {
				after = append(after, e)
			}
		}
		out := b.manage(rotation.Release)
		var gate *rotation.GateError
		if !errors.As(out.Err, &gate) || !gate.TimedOut || gate.Step == "start" || !strings.Contains(out.Err.Error(), "b/app-1") {
			t.Errorf("it ends with %v", out.Err)
		}
		if slices.ContainsFunc(after, func(e rotation.Event) bool { return strings.Contains(e.Message, "nothing is changed yet") }) {
			t.Errorf("it says that nothing is changed: %v", after)
		}
		b.trial.Emit = nil
		b.mesh.Thaw("b/app-1")
		if out := b.manage(rotation.Release); out.Err != nil {
			t.Errorf("it does not go on: %v", out.Err)
		}
	})
}

// What is accepted behind cert-manager's back stands in a journal, like anywhere else.
func TestS16_AcceptedBehindCertManager(t *testing.T) {
	for _, act := range []rotation.Act{rotation.Renew, rotation.Release} {
		t.Run(string(act), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := managedBench(t)
				b.mesh.Freeze("b/app-1")
				b.trial.Accept = map[string]string{"b/app-1": "it is looked at by hand"}
				if out := b.manage(act); out.Err != nil {
					t.Fatal(out.Err)
				}
				all, err := rotation.Journals(b.ctx, b.mesh.Kube, "istio-system")
				b.must(err)
				if len(all) != 1 || all[0].Phase != rotation.Done || len(all[0].Runs) != 1 || len(all[0].Gates) == 0 || all[0].Figures == nil ||
					!slices.ContainsFunc(all[0].Exceptions, func(x rotation.Exception) bool {
						return x.Object == "b/app-1" && x.Reason == "it is looked at by hand" && x.By == "rehearsal"
					}) {
					t.Errorf("%d journals: %+v", len(all), all)
				}
				if staged, err := rotation.ReadStaged(b.ctx, b.mesh.Kube, "istio-system"); err != nil || staged != nil && act == rotation.Release {
					t.Errorf("it is taken for a rotation: %+v, %v", staged, err)
				}
			})
		})
	}
}

// What was decided holds for what was seen: another root behind the issuer, or another
// Certificate, that comes while somebody thinks it over is met by a refusal.
func TestS16_ChangedBeforeItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := managedBench(t)
		version := b.secret("cacerts").ResourceVersion
		b.trial.Emit = func(e rotation.Event) {
			if e.Kind == rotation.EventPassed && e.Step == "start" {
				b.must(c.Behind(b.newRoot))
			}
		}
		out := b.manage(rotation.Renew)
		if !errors.Is(out.Err, rotation.ErrRefused) || c.Issued != 0 || b.secret("cacerts").ResourceVersion != version {
			t.Errorf("%d issued: it ends with %v", c.Issued, out.Err)
		}
	})
}

// asked counts what the API server was asked to change of a Certificate.
func (b *bench) asked() (n int) {
	for _, a := range b.mesh.Dynamic.Actions() {
		if a.GetVerb() == "update" && a.GetResource().Resource == "certificates" {
			n++
		}
	}
	return n
}

// The copy of the CA that cert-manager writes over is sealed before it is asked to, with
// all that writes it back; where it cannot be sealed, nothing is changed.
func TestS16_SealedBeforeCertManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := managedBench(t)
		for _, act := range []rotation.Act{rotation.Renew, rotation.Return} {
			if act == rotation.Return {
				if out := b.manage(rotation.Release); out.Err != nil {
					t.Fatal(out.Err)
				}
			}
			before, asked, issued := b.secret("cacerts"), b.asked(), c.Issued
			b.trial.Seal = func(rotation.SecretCopy) (string, error) { return "", errors.New("the disk is full") }
			if out := b.manage(act); out.Err == nil || !strings.Contains(out.Err.Error(), "the disk is full") || b.asked() != asked || b.secret("cacerts").ResourceVersion != before.ResourceVersion {
				t.Fatalf("%s: not sealed, and %d changes: %v", act, b.asked()-asked, out.Err)
			}
			var kept []rotation.SecretCopy
			b.trial.Seal = func(old rotation.SecretCopy) (string, error) {
				if b.asked() != asked || c.Issued != issued {
					t.Errorf("%s: sealed after the first change", act)
				}
				kept = append(kept, old)
				return "before.age", nil
			}
			out := b.manage(act)
			b.trial.Seal = nil
			if out.Err != nil || len(kept) != 1 || b.asked() == asked {
				t.Fatalf("%s: %d copies, %d changes: %v", act, len(kept), b.asked()-asked, out.Err)
			}
			raw, err := rotation.Backup{Secrets: kept}.Marshal()
			b.must(err)
			again, err := rotation.ParseBackup(raw)
			b.must(err)
			if s := again.Secrets[0]; !s.Same(before) || s.Same(b.secret("cacerts")) || s.Ref() != "istio-system/cacerts" || s.Type != before.Type {
				t.Errorf("%s: %v of the type %s is not what was there", act, s, s.Type)
			}
			all, err := rotation.Journals(b.ctx, b.mesh.Kube, "istio-system")
			b.must(err)
			if !slices.ContainsFunc(all, func(j rotation.Journal) bool { return j.Act == act && j.Sealed == "before.age" }) {
				t.Errorf("%s: no journal names the copy", act)
			}
		}
	})
}
