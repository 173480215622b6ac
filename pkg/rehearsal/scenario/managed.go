package scenario

import (
	"context"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// ManagedOutcome is what an act about a CA that cert-manager writes came to.
type ManagedOutcome struct {
	Check   check.Report
	Managed *rotation.Managed
	Events  []rotation.Event
	Err     error
}

// Manage looks, checks, decides and acts, from wherever the mesh stands.
func (t *Trial) Manage(ctx context.Context, act rotation.Act) (out ManagedOutcome) {
	clock, done := t.engineClock()
	defer done()
	s, err := t.Look(ctx)
	if err != nil {
		return ManagedOutcome{Err: err}
	}
	out.Check = check.Run(s, check.DefaultPolicy())
	out.Managed = rotation.NewManaged(s, act, t.Config.CSRProof, t.Accept)
	staged, err := rotation.ReadStaged(ctx, t.Mesh.Kube, "istio-system")
	if err != nil {
		out.Err = err
		return out
	}
	out.Managed.Under(staged)
	engine := &rotation.Engine{Kube: t.Mesh.Kube, Observer: t, Clock: clock, Holder: "rehearsal", Accept: t.Accept, Timeout: t.Timeout, Seal: t.Seal,
		Emit: func(e rotation.Event) {
			out.Events = append(out.Events, e)
			if t.Emit != nil {
				t.Emit(e)
			}
		}}
	if t.Timeout == 0 {
		engine.Timeout = out.Managed.LongestWait + 10*time.Minute
	}
	out.Err = engine.Manage(ctx, out.Managed, rotation.CertificatesOf(t.Mesh.Dynamic, out.Managed.Namespace), func(ctx context.Context) (*rotation.Managed, error) {
		s, err := t.Look(ctx)
		if err != nil {
			return nil, err
		}
		return rotation.NewManaged(s, act, t.Config.CSRProof, t.Accept), nil
	})
	return out
}
