package rotation

import (
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Istiods judge whoever shows them a certificate, a virtual machine or an agent with
// PROV_CERT, by the roots of their own start (istio 1.30.3 pilot/pkg/bootstrap/server.go:785
// and :1075): one that is not restarted refuses those that the new CA has signed.

// starts reports whether a step has istiods started anew with the new root.
func (p *Plan) starts(step Step) bool {
	return step.Restart && pki.NewSet(mustCerts(step.Roots)...).Has(p.config.New.Roots.Certs[0])
}

// staysStatic reports whether istiods may go through all of it without being started with a
// root that is new to them.
func (p *Plan) staysStatic() bool {
	return !p.citadel && p.leavesRoot() && !slices.ContainsFunc(p.Steps, p.starts)
}

// static is what staysStatic means for who comes later.
func (p *Plan) static() string {
	return "istiods that were not started since go on judging whoever shows them a certificate by the roots of their start: restart them ('kubectl -n " + p.Namespace + " rollout restart deployment') before a virtual machine joins, or an agent with PROV_CERT"
}

// overlooked reports whether the step that restarts istiods for those with certificates is
// behind a run, and was made when there was none of these: then they are restarted with the
// step that it goes on with.
func (r *run) overlooked(steps []Step, at place) bool {
	if r.Back || at.step >= len(steps) || !slices.ContainsFunc(steps[:at.step], func(s Step) bool { return s.always && r.plan.starts(s) }) {
		return false
	}
	return !r.started(steps[:at.step]) // that of this step may have been cut short: it says itself whether it is due
}

// started reports whether istiods were restarted for one of the steps with the new root.
func (r *run) started(steps []Step) bool {
	return slices.ContainsFunc(steps, func(s Step) bool {
		_, is := r.journal.state.Restarted[s.key()]
		return is && pki.NewSet(mustCerts(s.Roots)...).Has(r.plan.config.New.Roots.Certs[0])
	})
}
