package rotation

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// revive makes the CA Secret once more where somebody has deleted it under a rotation: the
// next istiod that starts would sign with a root of its own. What it held is told by what
// all istiods have in memory, which go on with it (the volume is optional); its keys are
// kept. Nothing changes for anybody by it.
func (r *run) revive(ctx context.Context, staged *Staged) error {
	if staged == nil {
		return nil
	}
	_, err := r.Kube.CoreV1().Secrets(r.plan.Namespace).Get(ctx, r.plan.Secret, metav1.GetOptions{})
	switch {
	case err == nil:
		return nil
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("reading %s: %w", r.plan.object(), err)
	}
	m, err := newMaterial(r.plan.Layout, staged.Old, r.plan.config.New)
	if err != nil {
		return err
	}
	var vouching []*pki.Certificate
	for _, step := range r.plan.Steps {
		vouching = append(vouching, mustCerts(step.Roots)...)
	}
	s, err := r.look(ctx, Observation{Vouching: vouching})
	if err != nil {
		return err
	}
	step, roots, ok := r.plan.inMemory(s)
	if r.plan.Adopts && (!ok || step.Signs == oldSide && bytes.Equal(roots, r.plan.ca.Root.Raw)) {
		return nil // it may never have been there
	}
	if !ok {
		return fmt.Errorf("%w: %s was deleted, and istiods do not all show one state of this rotation in memory, from which it could be made again: let none restart, and put it back ('kubectl meshca restore', or what secret %s/%s keeps)", ErrForeign, r.plan.object(), r.plan.Namespace, stagedName)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: r.plan.Secret}, Type: corev1.SecretTypeOpaque, Data: m.entries(step, roots)}
	switch r.plan.Layout {
	case mesh.CAPluggedTLS:
		secret.Type = corev1.SecretTypeTLS
	case mesh.CASelfSigned:
		secret.Type = "istio.io/ca-root" // istio 1.30.3 security/pkg/pki/ca/ca.go:41
	}
	if err := r.lease.renew(ctx); err != nil {
		return err
	}
	if _, err := r.Kube.CoreV1().Secrets(r.plan.Namespace).Create(ctx, secret, metav1.CreateOptions{FieldManager: fieldManager}); err != nil {
		return fmt.Errorf("making %s: %w", r.plan.object(), err)
	}
	r.emit(Event{Kind: EventWrite, Object: r.plan.object(), Message: "it was deleted: it is made again as every istiod has it in memory (" + step.Name + ")"})
	return nil
}

// inMemory is the state of a plan, with its bundle, that the answers of all istiods show:
// the start, or what a step or its nudge has written.
func (p *Plan) inMemory(s *mesh.Snapshot) (step Step, roots []byte, ok bool) {
	states := slices.Concat(p.Steps, p.Back)
	if !p.Adopts {
		states = append([]Step{{Name: "as it was", Signs: oldSide, Roots: p.ca.Root.Raw}}, states...)
	}
	for _, step := range states {
		for _, roots := range [][]byte{step.Roots, step.nudge} {
			if roots != nil && p.shown(s, step, roots) {
				return step, roots, true
			}
		}
	}
	return Step{}, nil, false
}

// shown reports whether every istiod that may sign from the Secret answers as from this.
func (p *Plan) shown(s *mesh.Snapshot, step Step, roots []byte) bool {
	bundle, signer := mustCerts(roots), p.ca.Cert.Certs[0]
	var behind []*pki.Certificate
	if step.Signs == newSide {
		signer = p.config.New.Cert
	}
	if len(step.Chain) > 0 {
		behind = without(mustCerts(step.Chain), bundle)
	}
	seen := 0
	for _, plane := range s.ControlPlanes {
		for _, replica := range plane.Replicas {
			seen++
			a := replica.Signed
			if a == nil || len(a.Chain) == 0 || !a.Chain[0].SignedBy(signer) || !sameCerts(a.Roots, bundle) ||
				behind != nil && !sameCerts(without(a.Chain[1:], bundle), behind) {
				return false
			}
		}
	}
	return seen > 0
}
