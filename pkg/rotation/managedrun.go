package rotation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ErrNotIssued: cert-manager has not issued; the mesh goes on with what it had.
var ErrNotIssued = errors.New("cert-manager has not issued")

// ErrOtherRoot: cert-manager has written another root, which istiods refuse: they go
// on with what they have loaded, until they restart.
var ErrOtherRoot = errors.New("cert-manager has written another root")

// Manage does what was decided, each part proven, from wherever it was left: all of it
// looks first at what is true. The Secret stays in place throughout, and is written by
// cert-manager alone.
//
// again looks and decides anew. It is called once the Lease is held and the mesh was
// proven, right before the first change: what was decided before somebody was asked, or
// before somebody else's run ended, may not hold any more.
func (e *Engine) Manage(ctx context.Context, m *Managed, certificates Certificates, again func(context.Context) (*Managed, error)) error {
	r := e.start(m.plan)
	r.decide = again
	r.vouching = slices.Concat(m.roots, m.ca.Root.Certs)
	r.emit(Event{Kind: EventPlan, Managed: m, Message: m.Summary()})
	err := r.manage(ctx, m, certificates)
	if err != nil {
		r.emit(Event{Kind: EventFailed, Message: err.Error()})
	}
	return err
}

func (r *run) manage(ctx context.Context, m *Managed, certificates Certificates) error {
	if len(m.Refusals) > 0 {
		return fmt.Errorf("%w: %s: %s", ErrRefused, m.Refusals[0].Object, m.Refusals[0].Why)
	}
	act := r.renewManaged
	if m.Act == Release {
		act = r.release
	}
	return r.leased(ctx, func(ctx context.Context) error {
		if err := r.keepJournal(ctx, m); err != nil {
			return err
		}
		if err := act(ctx, m, certificates); err != nil {
			return err
		}
		return r.save(ctx)
	})
}

// keepJournal begins, or carries on, the record of an act: who, when, which gates and
// which exceptions. It is one for each CA that is acted on.
func (r *run) keepJournal(ctx context.Context, m *Managed) error {
	sum := sha256.Sum256([]byte(strings.Join([]string{string(m.Act), m.Namespace, m.Secret, m.Certificate, m.Signer.Fingerprint.String()}, "\n")))
	r.journal = &journal{kube: r.Kube, namespace: m.Namespace, now: r.Clock.Now, state: Journal{
		ID: hex.EncodeToString(sum[:])[:10], Act: m.Act, Phase: Prepare, Holder: r.Holder, Accepted: r.Accept,
		OldRoot: m.Root, NewRoot: m.Root, OldSigner: m.Signer,
	}}
	if !m.under {
		if err := r.journaled(ctx, r.journal.anew); err != nil {
			return err
		}
	}
	return r.openJournal(ctx)
}

// stillSo requires that a look at what there is now comes to the same decision.
func (r *run) stillSo(ctx context.Context, m *Managed) error {
	now, err := r.decide(ctx)
	if err != nil {
		return fmt.Errorf("looking once more before the first change: %w", err)
	}
	if len(now.Refusals) > 0 {
		return fmt.Errorf("%w: since it was looked at: %s: %s", ErrRefused, now.Refusals[0].Object, now.Refusals[0].Why)
	}
	if now.Certificate != m.Certificate || now.Secret != m.Secret || now.Beside != m.Beside || now.Issuer != m.Issuer || now.under != m.under || !sameCerts(now.roots, m.roots) {
		return fmt.Errorf("%w: certificate %s/%s, its issuer or the mesh's roots are others than when it was looked at", ErrForeign, m.Namespace, m.Certificate)
	}
	return r.unchanged(ctx, m)
}

// proven records a gate of an act.
func (r *run) proven(ctx context.Context) error {
	r.journal.state.Phase, r.journal.state.Step = r.phase, r.step
	return r.save(ctx)
}

// wholeWith requires that the mesh is whole: with the CA that stands in the Secret,
// or, where istiods have refused that, with whatever signs under the roots of before.
func (r *run) wholeWith(ctx context.Context, m *Managed) error {
	step := Step{Phase: Prepare, Name: beginning, expect: r.whole(m)}
	r.enter(step)
	if err := r.gate(ctx, step); err != nil {
		return err
	}
	return r.proven(ctx)
}

// wholeAfter requires the same once the Secret is released: a gate like any other, with
// the time of any other, for by now something was changed.
func (r *run) wholeAfter(ctx context.Context, m *Managed) error {
	step := Step{Phase: Prepare, Name: "released", About: m.Secret + " is out of cert-manager's hands: the mesh is as whole as before", expect: r.whole(m)}
	r.enter(step)
	return r.gate(ctx, step)
}

func (r *run) whole(m *Managed) Expectation {
	e := Expectation{CSRProof: r.plan.config.CSRProof, Roots: m.roots, Trusted: m.roots, Accepted: m.roots}
	if m.Act != Release {
		e.crls = crlsNone
	}
	if !m.waits {
		e.Signer = m.ca.Cert.Certs[0]
	}
	return e
}

// renewManaged has cert-manager write another intermediate, and proves it.
func (r *run) renewManaged(ctx context.Context, m *Managed, certificates Certificates) error {
	if !m.under {
		if err := r.wholeWith(ctx, m); err != nil {
			return err
		}
	}
	if err := r.count(ctx); err != nil {
		return err
	}
	began := r.Clock.Now()
	r.first, r.before = began, r.waited
	r.phase, r.step = SignNew, "signer"
	r.emit(Event{Kind: EventPhase, Message: "cert-manager issues another intermediate under the same root"})
	// A renewal that was begun before may have been written already: what is waited for
	// then is its end.
	was := m.ca.Cert.Raw
	if m.under {
		was = nil
	} else {
		// Asked for at the version that was judged: a Secret that has changed since is looked
		// at anew by whoever runs this again.
		if err := r.stillSo(ctx, m); err != nil {
			return err
		}
	}
	if err := r.sealManaged(ctx, m); err != nil {
		return err
	}
	if !m.under {
		err := r.insist(ctx, "certificate "+m.Certificate, func() error {
			if err := r.lease.renew(ctx); err != nil {
				return err
			}
			if m.Act == Return {
				return certificates.point(ctx, m.Certificate, m.Secret, "")
			}
			return certificates.issue(ctx, m.Certificate, began)
		})
		if err != nil {
			return err
		}
		r.emit(Event{Kind: EventWrite, Object: "certificate " + m.Namespace + "/" + m.Certificate, Message: "cert-manager is asked to issue, and to write " + m.Secret + " in place"})
	}
	chain, err := r.issued(ctx, m, certificates, was)
	if err != nil {
		return err
	}
	r.plan.NewSigner = briefOf(chain[0])
	r.journal.state.NewSigner = r.plan.NewSigner
	r.refresh(ctx)
	roots := m.roots
	signer := Step{Phase: SignNew, Name: "signer", expect: Expectation{CSRProof: r.plan.config.CSRProof, Roots: roots, Signer: chain[0], Behind: without(chain, roots)}}
	if err := r.gate(ctx, signer); err != nil {
		return err
	}
	if err := r.proven(ctx); err != nil {
		return err
	}
	r.evidence(ctx, began)
	if r.Until == SignNew {
		r.finish(EventStopped, fmt.Sprintf("every istiod signs with %s; proxies follow with their next certificates, within %s: 'kubectl meshca check' then finds them in one class", chain[0].Subject(), m.LongestWait))
		return nil
	}
	r.step = "leaves"
	r.emit(Event{Kind: EventPhase, Message: "every proxy has a certificate of the new intermediate, under the same root"})
	leaves := Step{Phase: SignNew, Name: "leaves", expect: Expectation{CSRProof: r.plan.config.CSRProof, Roots: roots, Trusted: roots, Accepted: roots, Signer: chain[0], Leaves: true, Behind: without(chain, roots)}}
	if err := r.gate(ctx, leaves); err != nil {
		return err
	}
	r.phase, r.step = Done, ""
	r.journal.state.Phase, r.journal.state.Step = Done, ""
	done := fmt.Sprintf("every istiod signs with %s, and every proxy has a certificate of it; the root stays %s", chain[0].Subject(), m.Root.Subject)
	if m.Act == Return && m.Beside != m.Secret {
		done += "; nothing needs the Secret " + m.Beside + " any more, which holds a CA's key: delete it"
	}
	r.finish(EventDone, done)
	return nil
}

// sealManaged keeps, where that was asked for, what cert-manager is about to write over:
// key, type and labels, as of the moment before the first change.
func (r *run) sealManaged(ctx context.Context, m *Managed) error {
	if r.Seal == nil {
		return nil
	}
	secret, err := r.judged(ctx, m)
	if err != nil {
		return err
	}
	sealed, err := r.Seal(copyOf(secret))
	if err != nil {
		return fmt.Errorf("sealing the CA as it is: %w", err)
	}
	message := "the sealed copy of the CA is written"
	if m.under {
		message += ": of what is there by now, for a renewal was begun before"
	}
	r.emit(Event{Kind: EventWrite, Object: sealed, Message: message})
	r.journal.state.Sealed = sealed
	return r.save(ctx)
}

// unchanged requires that the Secret holds what was judged.
func (r *run) unchanged(ctx context.Context, m *Managed) error {
	_, err := r.judged(ctx, m)
	return err
}

// judged is the CA Secret, which must hold what was judged.
func (r *run) judged(ctx context.Context, m *Managed) (secret *corev1.Secret, err error) {
	err = r.insist(ctx, r.plan.object(), func() error {
		secret, err = r.plan.read(ctx, r.Kube)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !m.under && !bytes.HasPrefix(secret.Data[corev1.TLSCertKey], m.ca.Cert.Raw) {
		return nil, fmt.Errorf("%w: %s has changed since it was looked at", ErrForeign, r.plan.object())
	}
	return secret, nil
}

// issued waits until cert-manager has written the Secret, and returns what stands in
// it: signer first. was is the certificate of before, nil where any will do that
// cert-manager calls ready for what it is now asked.
func (r *run) issued(ctx context.Context, m *Managed, certificates Certificates, was []byte) ([]*pki.Certificate, error) {
	told := false
	for {
		var secret *corev1.Secret
		var state issuing
		err := r.insist(ctx, r.plan.object(), func() (err error) {
			if secret, err = r.plan.read(ctx, r.Kube); err != nil {
				return err
			}
			state, err = certificates.state(ctx, m.Certificate)
			return err
		})
		if err != nil {
			return nil, err
		}
		bundle, parsed := pki.ParseBundle(secret.Data[corev1.TLSCertKey])
		changed := parsed == nil && (was == nil || !bytes.HasPrefix(secret.Data[corev1.TLSCertKey], was))
		switch {
		case !state.under && state.failed != "": // Ready is of the certificate of before
			return nil, fmt.Errorf("%w: certificate %s/%s: %s", ErrNotIssued, m.Namespace, m.Certificate, state.failed)
		case changed && !state.under && state.ready:
			roots, err := pki.ParseBundle(secret.Data["ca.crt"])
			if err != nil || !pki.NewSet(roots.Certs...).Equal(pki.NewSet(m.roots...)) {
				return nil, fmt.Errorf("%w: %s holds another ca.crt than %s", ErrOtherRoot, r.plan.object(), m.Root.Subject)
			}
			r.emit(Event{Kind: EventWrite, Object: r.plan.object(), Message: "cert-manager has written " + bundle.Certs[0].Subject() + " " + bundle.Certs[0].Fingerprint().Short()})
			return bundle.Certs, nil
		case !r.Clock.Now().Before(r.deadline):
			return nil, r.late("certificate", m.Namespace+"/"+m.Certificate, "cert-manager has not issued yet: is its controller running, and what do its Events say ('kubectl -n "+m.Namespace+" describe certificate "+m.Certificate+"')?")
		case !told:
			told = true
			r.emit(Event{Kind: EventWait, Message: "cert-manager issues"})
		}
		if err := r.pause(ctx, shortestPause); err != nil {
			return nil, err
		}
	}
}

func (r *run) late(kind, object, why string) error {
	return &GateError{Phase: r.phase, Step: r.step, TimedOut: true, Status: Status{At: r.Clock.Now(), Blockers: []Blocker{{Kind: kind, Object: object, Why: why}}}}
}

// release takes the Secret out of cert-manager's hands. Its contents stay as they are.
func (r *run) release(ctx context.Context, m *Managed, certificates Certificates) error {
	if err := r.wholeWith(ctx, m); err != nil {
		return err
	}
	if err := r.stillSo(ctx, m); err != nil {
		return err
	}
	r.first, r.before = r.Clock.Now(), r.waited
	if m.Certificate != "" {
		err := r.insist(ctx, "certificate "+m.Certificate, func() error {
			if err := r.lease.renew(ctx); err != nil {
				return err
			}
			return certificates.point(ctx, m.Certificate, m.Beside, m.Secret)
		})
		if err != nil {
			return err
		}
		r.emit(Event{Kind: EventWrite, Object: "certificate " + m.Namespace + "/" + m.Certificate, Message: "it writes " + m.Beside + " from now on, and no more " + m.Secret})
		if err := r.followed(ctx, m, certificates); err != nil {
			return err
		}
	}
	if err := r.unchanged(ctx, m); err != nil {
		return err
	}
	err := r.insist(ctx, r.plan.object(), func() error {
		if err := r.lease.renew(ctx); err != nil {
			return err
		}
		secret, err := r.plan.read(ctx, r.Kube)
		if err != nil {
			return err
		}
		unmark(secret)
		if _, err := r.Kube.CoreV1().Secrets(m.Namespace).Update(ctx, secret, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			return fmt.Errorf("writing %s: %w", r.plan.object(), err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.emit(Event{Kind: EventWrite, Object: r.plan.object(), Message: "cert-manager's marks are off; type and contents are as they were"})
	if err := r.wholeAfter(ctx, m); err != nil {
		return err
	}
	r.phase, r.step = Done, ""
	r.journal.state.Phase, r.journal.state.Step = Done, ""
	r.finish(EventDone, m.Secret+" is nobody's but its administrators': 'kubectl meshca rotate' replaces the root in place, 'kubectl meshca cert-manager return' gives it back")
	return nil
}

// followed waits until cert-manager has written the Secret beside: then it works from
// the Certificate as it now is, and writes the other no more.
func (r *run) followed(ctx context.Context, m *Managed, certificates Certificates) error {
	for {
		there, state := false, issuing{}
		err := r.insist(ctx, "secret "+m.Beside, func() error {
			_, err := r.Kube.CoreV1().Secrets(m.Namespace).Get(ctx, m.Beside, metav1.GetOptions{})
			if there = err == nil; err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("reading secret %s/%s: %w", m.Namespace, m.Beside, err)
			}
			state, err = certificates.state(ctx, m.Certificate)
			return err
		})
		switch {
		case err != nil:
			return err
		case !state.under && state.failed != "":
			return fmt.Errorf("%w: certificate %s/%s: %s", ErrNotIssued, m.Namespace, m.Certificate, state.failed)
		case there && !state.under && state.ready: // a Secret of an earlier release may be there
			return nil
		case !r.Clock.Now().Before(r.deadline):
			return r.late("certificate", m.Namespace+"/"+m.Certificate, "cert-manager has not written "+m.Beside+": is its controller running?")
		}
		if err := r.pause(ctx, shortestPause); err != nil {
			return err
		}
	}
}

// unmark takes off what names cert-manager as the writer: its labels, annotations and
// owner reference, by which the Secret would go with its Certificate
// (--enable-certificate-owner-ref), and its record in managedFields.
func unmark(secret *corev1.Secret) {
	mark := func(key, _ string) bool {
		domain, _, _ := strings.Cut(key, "/")
		return domain == "cert-manager.io" || strings.HasSuffix(domain, ".cert-manager.io")
	}
	maps.DeleteFunc(secret.Labels, mark)
	maps.DeleteFunc(secret.Annotations, mark)
	delete(secret.Annotations, lastApplied)
	secret.OwnerReferences = slices.DeleteFunc(secret.OwnerReferences, func(o metav1.OwnerReference) bool {
		return strings.HasPrefix(o.APIVersion, "cert-manager.io/")
	})
	secret.ManagedFields = slices.DeleteFunc(secret.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return strings.HasPrefix(f.Manager, "cert-manager") })
	if len(secret.ManagedFields) == 0 {
		// An empty list says nothing to the API server; one empty entry resets the record.
		secret.ManagedFields = []metav1.ManagedFieldsEntry{{}}
	}
}
