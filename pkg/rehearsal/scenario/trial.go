// Package scenario runs the whole product against a mesh in memory: check, plan,
// rotate and verify, as the commands do.
package scenario

import (
	"context"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// Trial is one mesh and how it is to be rotated.
type Trial struct {
	Mesh   *rehearsal.Mesh
	Clock  rehearsal.Clock
	Config rotation.Config
	// Timeout bounds all waits; zero is the plan's longest wait and ten minutes.
	Timeout time.Duration
	Accept  map[string]string
	// Emit is told every Event as it happens; nil where nobody listens.
	Emit func(rotation.Event)
	// Checked is told what check came to, and by which look; nil where nobody listens.
	Checked func(*mesh.Snapshot, Outcome)
	// Holder names the run; "rehearsal" where empty.
	Holder string
	// Until is the phase to stop after, "" for the end; Back goes back.
	Until rotation.Phase
	Back  bool
	// Soak, AtOnce and AllowRestart are the engine's.
	Soak         time.Duration
	AtOnce       int
	AllowRestart []string
	// Seal is the engine's, of an act behind cert-manager.
	Seal func(rotation.SecretCopy) (string, error)

	first   *mesh.Snapshot     // what does not change while one waits
	trusted []*pki.Certificate // at the last look at the whole mesh: they vouch for istiods
}

// Outcome is what a Trial came to.
type Outcome struct {
	Check  check.Report
	Plan   *rotation.Plan
	Events []rotation.Event
	// Err is the rotation's end, nil where it is done. Proof is what a look at the
	// mesh afterwards came to: by the proof of the end, or, of a way back or one that
	// stopped before, by whether everybody agrees with the CA that is there.
	Err   error
	Proof rotation.Status
}

// Look reads the whole mesh and asks its istiods.
func (t *Trial) Look(ctx context.Context) (*mesh.Snapshot, error) {
	s, err := t.Mesh.Collector().Collect(ctx)
	if err != nil {
		return nil, err
	}
	t.first, t.trusted = s, nil
	for _, n := range s.Namespaces {
		if n.Trust != nil && slices.ContainsFunc(s.ControlPlanes, func(p mesh.ControlPlane) bool { return p.Namespace == n.Name }) {
			t.trusted = append(t.trusted, n.Trust.Bundle.Certs...)
		}
	}
	for _, p := range s.ControlPlanes {
		t.trusted = append(t.trusted, p.CA.Root.Certs...)
	}
	t.Mesh.Prober(t.Config.CSRProof).Probe(ctx, s, t.trusted)
	return s, nil
}

// Observe is the engine's look.
func (t *Trial) Observe(ctx context.Context, o rotation.Observation) (*mesh.Snapshot, error) {
	s, err := t.Mesh.Collector().Read(ctx, mesh.Parts{Published: o.Proxies, Proxies: o.Proxies, Unread: o.Unread, Nodes: o.Nodes, Known: o.Settled})
	if err != nil {
		return nil, err
	}
	if t.first != nil {
		s.MeshCACertificates, s.MeshCAURLs, s.VMs = t.first.MeshCACertificates, t.first.MeshCAURLs, t.first.VMs
	}
	prober := t.Mesh.Prober(t.Config.CSRProof)
	prober.Strongest = true
	prober.Probe(ctx, s, slices.Concat(o.Vouching, t.trusted))
	return s, nil
}

// engineThreads wait for the clock while a rotation runs: it, and its Lease's keeper.
const engineThreads = 2

// engineClock is the engine's: a virtual one stands still while the engine works. done
// lets it go on without.
func (t *Trial) engineClock() (clock rotation.Clock, done func()) {
	if v, ok := t.Clock.(*rehearsal.Virtual); ok {
		worker := v.Worker(engineThreads)
		return worker, worker.Done
	}
	return t.Clock, func() {}
}

// Run looks, checks, plans, rotates from wherever the mesh stands, and verifies.
func (t *Trial) Run(ctx context.Context) (out Outcome) {
	clock, done := t.engineClock()
	defer done()
	s, err := t.Look(ctx)
	if err != nil {
		return Outcome{Err: err}
	}
	out.Check = check.Run(s, check.DefaultPolicy())
	if t.Checked != nil {
		t.Checked(s, out)
	}
	staged, err := rotation.FindStaged(ctx, t.Mesh.Kube, "istio-system")
	if err != nil {
		out.Err = err
		return out
	}
	config := t.Config
	config.Back = config.Back || t.Back
	if staged != nil {
		config = config.Resume(s, staged)
	}
	out.Plan = rotation.NewPlan(s, config)
	engine := &rotation.Engine{Kube: t.Mesh.Kube, Observer: t, Clock: clock, Holder: "rehearsal", Accept: t.Accept, Timeout: t.Timeout, Until: t.Until, Back: config.Back,
		Soak: t.Soak, AtOnce: t.AtOnce, AllowRestart: t.AllowRestart,
		Emit: func(e rotation.Event) {
			out.Events = append(out.Events, e)
			if t.Emit != nil {
				t.Emit(e)
			}
		}}
	if t.Holder != "" {
		engine.Holder = t.Holder
	}
	if t.Timeout == 0 {
		engine.Timeout = out.Plan.Cost.LongestWait + 10*time.Minute
	}
	if out.Err = engine.Run(ctx, out.Plan, staged); out.Err != nil {
		return out
	}
	if s, out.Err = t.Look(ctx); out.Err != nil {
		return out
	}
	expect := out.Plan.Target()
	if config.Back || t.Until != "" && t.Until != rotation.Done {
		expect, _ = rotation.Present(s)
		expect.Only = false
	}
	out.Proof = expect.Judge(s, t.Accept)
	return out
}
