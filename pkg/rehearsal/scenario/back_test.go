package scenario_test

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// start is the CA of a mesh as it was.
type start struct {
	signer *pki.Certificate
	roots  pki.Set
	bundle pki.Set // as published
}

// standing is the CA as the mesh has it now.
func (b *bench) standing() start {
	b.t.Helper()
	s, err := b.trial.Look(b.ctx)
	b.must(err)
	var at start
	if ca := s.ControlPlanes[0].CA; len(ca.Cert.Certs) > 0 {
		at.signer, at.roots = ca.Cert.Certs[0], ca.Root.Set()
	}
	for _, n := range s.Namespaces {
		if n.Name == "istio-system" && n.Trust != nil {
			at.bundle = n.Trust.Bundle.Set()
		}
	}
	return at
}

// draw is a number that a row's name draws: every other row that rotates is rolled back
// from a phase, the rest from the end; all of them from both with MESHCA_BOTH_WAYS.
func draw(name string) int {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(name))
	return int(sum.Sum32() >> 8)
}

// halfWay goes to the end of a phase that the row's name draws, and back.
func (b *bench) halfWay(r row, at start) {
	b.t.Helper()
	phases := r.strategy.Phases()
	phases = phases[1 : len(phases)-1] // neither the start nor the end
	b.trial.Until = phases[draw(r.name)/2%len(phases)]
	out := b.trial.Run(b.ctx)
	if out.Err != nil {
		b.t.Fatalf("until %s: it ends with %v", b.trial.Until, out.Err)
	}
	b.trial.Until = ""
	b.back(at)
}

// back goes back, and requires that the old CA and bundle are the mesh's again, that
// everybody is as before, and that no pair has failed on the way or will.
func (b *bench) back(at start) {
	b.t.Helper()
	b.trial.Back = true
	out := b.trial.Run(b.ctx)
	b.trial.Back = false
	if out.Err != nil {
		b.t.Fatalf("back: it ends with %v", out.Err)
	}
	if last := out.Events[len(out.Events)-1]; last.Kind != rotation.EventRolledBack {
		b.t.Errorf("back: the last event is %s: %s", last.Kind, last.Message)
	}
	if !out.Proof.Open() {
		b.t.Errorf("back: not everybody agrees: %v", out.Proof.Blockers[0])
	}
	now := b.standing()
	if !now.signer.Equal(at.signer) || !now.roots.Equal(at.roots) || !now.bundle.Equal(at.bundle) {
		b.t.Errorf("back: the CA is %s with %d roots, %d published; it was %s with %d and %d", now.signer.Subject(), len(now.roots), len(now.bundle), at.signer.Subject(), len(at.roots), len(at.bundle))
	}
	b.leavesOf(at.signer)
	time.Sleep(2 * ttl)
	if failed := b.failed(); len(failed) > 0 {
		b.t.Fatalf("on the way back, or after it: %v", failed[0])
	}
}

// leavesOf requires that every proxy that can be read has a certificate of the signer.
func (b *bench) leavesOf(signer *pki.Certificate) {
	b.t.Helper()
	s, err := b.trial.Look(b.ctx)
	b.must(err)
	for _, p := range s.Proxies {
		if p.Loaded == nil {
			continue
		}
		if !slices.ContainsFunc(p.Loaded.Identities, func(i proxy.Identity) bool { return len(i.Chain) > 0 && i.Chain[0].SignedBy(signer) }) {
			b.t.Errorf("back: %s has no certificate of %s", p.Ref(), signer.Subject())
		}
	}
}
