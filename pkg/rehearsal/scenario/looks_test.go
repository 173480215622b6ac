package scenario_test

import (
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// looks checks a mesh, and does nothing to it.
func (b *bench) looks(r row) {
	b.t.Helper()
	s, err := b.trial.Look(b.ctx)
	b.must(err)
	report := check.Run(s, check.DefaultPolicy())
	b.finds(r, &report)
	plan := rotation.NewPlan(s, b.trial.Config)
	if r.refused != "" && !slices.ContainsFunc(plan.Refusals, func(f rotation.Refusal) bool { return f.ID == r.refused && f.Hint != "" }) {
		b.t.Errorf("it is not refused by %s: %v", r.refused, plan.Refusals)
	}
}

// finds requires the findings of a row.
func (b *bench) finds(r row, report *check.Report) {
	b.t.Helper()
	for _, id := range r.finds {
		if !slices.ContainsFunc(report.Findings, func(f finding) bool { return f.ID == id }) {
			b.t.Errorf("check does not find %s: %v", id, report.Findings)
		}
	}
}

// signedBy says who has no certificate of a signer.
func signedBy(of func(*bench) *pki.Authority) func(*bench) string {
	return func(b *bench) string {
		s, err := b.trial.Look(b.ctx)
		b.must(err)
		var others []string
		for _, p := range s.Proxies {
			if p.Loaded == nil || len(p.Loaded.Identities) == 0 || !p.Loaded.Identities[0].Chain[0].SignedBy(of(b).Cert) {
				others = append(others, p.Ref())
			}
		}
		if len(others) > 0 {
			return "no certificate of " + of(b).Cert.Subject() + " have " + strings.Join(others, ", ")
		}
		return ""
	}
}

func theOld(b *bench) *pki.Authority { return b.old }
func theNew(b *bench) *pki.Authority { return b.new }

func meshRoots(of func(*bench) *pki.Certificate) func(*bench, *rehearsal.Spec) {
	return func(b *bench, s *rehearsal.Spec) { s.MeshCA = []*pki.Certificate{of(b)} }
}

// alone has the mesh's own proxies be of a workload of that kind alone.
func alone(w rehearsal.Workload) func(*bench, *rehearsal.Spec) {
	return both(func(_ *bench, s *rehearsal.Spec) { s.Proxies = 0 }, beside(w))
}
