package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation/traffic"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
)

// Observation says what one look at the mesh is to read.
type Observation struct {
	// Proxies asks for proxies, ConfigMaps and webhooks too, not only for istiods.
	Proxies bool
	// Unread has proxies listed only: the step asks nothing of what they have loaded.
	Unread bool
	// Counters asks for what every proxy has counted of its upstreams.
	Counters bool
	// Nodes asks for nodes and when their kubelets were last heard of.
	Nodes bool
	// Settled gives the reading that is already good enough for a pod, by UID, so
	// that it need not be read again.
	Settled map[string]*proxy.Loaded
	// Vouching are the roots that may vouch for a replica before it gets a token.
	Vouching []*pki.Certificate
}

// Observer is how the engine sees the mesh.
type Observer interface {
	Observe(ctx context.Context, o Observation) (*mesh.Snapshot, error)
}

// Clock is time as the engine meets it.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Engine makes a plan so.
type Engine struct {
	Kube     kubernetes.Interface
	Observer Observer
	Clock    Clock
	// Emit takes every Event, one at a time.
	Emit func(Event)
	// Holder names this run in Lease and journal: who, and on which machine.
	Holder string
	// Process tells this process from all others, also from those of the same Holder: in
	// containers every run is process 1 of root. It is random; "" is another one each run.
	Process string
	// Dead is the holder of a Lease that the operator knows to be dead, as the Lease has
	// it: that one is not waited for. "" waits for everybody's.
	Dead string
	// Seal writes the sealed copy outside the cluster before anything is changed, and
	// returns where to; nil where none was asked for. What it wrote must outlast a crash
	// of this machine by then.
	Seal func(old SecretCopy) (string, error)
	// Accept are the objects that may stay unknown, with the operator's reason.
	Accept map[string]string
	// Until is the phase to stop after, "" for the end.
	Until Phase
	// Back goes back instead of forward.
	Back bool
	// Soak is how long a gate must have been open, by repeated looks, before the next
	// write.
	Soak time.Duration
	// AtOnce bounds how many workloads are restarted at one time; AllowRestart names
	// those, as namespace/name, that serve nobody meanwhile.
	AtOnce       int
	AllowRestart []string
	// Baseline is how long traffic is counted before the first write of a run, so that
	// failures which rise through the change close a gate; zero leaves it out.
	Baseline time.Duration
	// Commands are the operator's while it runs; nil where there are none.
	Commands <-chan Command
	// Timeout bounds the waits of all gates together; zero looks at each gate once.
	Timeout time.Duration
}

// Errors that a run ends with, beside those of the API server.
var (
	// ErrRefused: nothing was changed.
	ErrRefused = errors.New("refused")
	// ErrClosed: a gate did not open in time. The mesh is safe as it stands, and the
	// same command goes on from there.
	ErrClosed = errors.New("the gate stayed closed")
	// ErrNothing: there is nothing to go back from.
	ErrNothing = errors.New("nothing to go back from")
	// ErrWorse: more fails than before the first write, so that nothing more is written.
	ErrWorse = errors.New("traffic is worse than before this rotation")
	// ErrPast: the phase to stop after is behind.
	ErrPast = errors.New("that phase is behind")
	// ErrForeign: the CA Secret holds what this rotation has not written.
	ErrForeign = errors.New("somebody else has changed the CA")
)

// GateError is a gate that stayed closed, with what kept it so.
type GateError struct {
	Phase  Phase
	Step   string
	Status Status
	// TimedOut is false where nothing has been changed yet.
	TimedOut bool
}

func (g *GateError) Error() string {
	names := ""
	for i, b := range g.Status.Blockers {
		if i == 3 {
			names += fmt.Sprintf("; and %d more", len(g.Status.Blockers)-3)
			break
		}
		if i > 0 {
			names += "; "
		}
		names += b.String()
	}
	return fmt.Sprintf("phase %s (%s): %d in the way: %s", g.Phase, g.Step, len(g.Status.Blockers), names)
}

// Unwrap lets errors.Is tell a gate from other failures.
func (g *GateError) Unwrap() error {
	if g.TimedOut {
		return ErrClosed
	}
	return ErrRefused
}

// run is one run of an engine.
type run struct {
	*Engine
	plan     *Plan
	lease    *lease
	journal  *journal
	material *material
	// found is what the CA Secret held when this run began; it has a key in it. foundAs is the
	// step that it counts as, where one stands there, and baseline what the mesh must be
	// before the first write.
	found    map[string][]byte
	foundAs  string
	baseline Expectation
	first    time.Time // of the first write, or of the first look at what stands
	waited   time.Duration
	before   time.Duration // of waited, what came before first
	deadline time.Time
	prepared time.Time // when the mesh must be whole to begin
	phase    Phase
	step     string
	figures  Figures
	vouching []*pki.Certificate
	// accept and commands are the Engine's; held is true while it is paused.
	accept   map[string]string
	commands <-chan Command
	held     bool
	since    time.Time // of the pause, where held
	// at is the moment of the last proof, on the cluster's clock; unseen are proxies and
	// virtual machines that were accepted unread in it, and pushed that a push reaches
	// each of those.
	at     time.Time
	unseen []Blocker
	pushed bool
	// traffic is what the proxies have counted since before the first write.
	traffic traffic.Watch
	// memo is of the leaves of the gate that is waited at: most are looked at twice.
	memo *pki.Memo
	// nudges are those of the gate that is waited at.
	nudges int
	// loadedAt is when every istiod was proven in the gate that is waited at.
	loadedAt time.Time
	// pushing is true while the roots of a step are sent once more.
	pushing bool
	// decide looks at a CA that cert-manager writes, and decides anew.
	decide func(context.Context) (*Managed, error)
	// taken are the facts that were accepted when a gate opened over them, by object.
	taken map[string][]Blocker
	// hurried is what kubelets could not be asked yet.
	hurried hurried
	// skew is how far this machine's clock is ahead of the cluster's, by the last look.
	skew time.Duration
	// waved are the rounds of restarts of this run, by step.
	waved map[string]*rounds
}

// Run makes the plan so, from wherever the mesh stands. staged is what an earlier
// run kept, or nil.
func (e *Engine) Run(ctx context.Context, plan *Plan, staged *Staged) error {
	r := e.start(plan)
	r.emit(Event{Kind: EventPlan, Plan: plan, Message: plan.Summary()})
	err := r.all(ctx, staged)
	if err != nil {
		r.finish(EventFailed, err.Error())
	}
	return err
}

// lastWord writes down why a run ended, while the Lease is held: without it the journal may
// be somebody else's by now, who would go on from what this run knew.
func (r *run) lastWord(ctx context.Context, err error) {
	if err == nil || r.journal == nil || r.journal.state.Phase == "" || errors.Is(err, ErrHeld) || errors.Is(err, errLeaseLost) {
		return
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	r.journal.note(Event{Time: r.Clock.Now(), Kind: EventFailed, Phase: r.phase, Step: r.step, Message: err.Error()})
	if r.lease.renew(after) == nil {
		_ = r.journal.save(after) // the first failure says more, and the journal is not what a run goes on from
	}
}

// start is a run that has done nothing yet, and its time from now on.
func (e *Engine) start(plan *Plan) *run {
	return &run{Engine: e, plan: plan, phase: Prepare, accept: e.Accept, commands: e.Commands, waved: map[string]*rounds{}, deadline: e.Clock.Now().Add(e.Timeout)}
}

func (r *run) all(ctx context.Context, staged *Staged) error {
	if len(r.plan.Refusals) > 0 {
		return fmt.Errorf("%w: %s: %s", ErrRefused, r.plan.Refusals[0].Object, r.plan.Refusals[0].Why)
	}
	if r.plan.AlreadyDone {
		r.phase = Done
		if err := r.gate(ctx, Step{Phase: Done, Name: "proof", expect: r.plan.target}); err != nil {
			return err
		}
		r.finish(EventDone, "the mesh signs with this CA and trusts "+r.plan.alone()+": nothing was changed")
		return nil
	}
	return r.leased(ctx, func(ctx context.Context) error { return r.steps(ctx, staged) })
}

// stops says that what is left is behind the phase to stop after, in which a run that
// was asked for an earlier one than it stands in begins.
func (r *run) stops(left []Step) bool {
	return r.Until != "" && r.Until != Done && len(left) > 0 && !slices.ContainsFunc(left, func(s Step) bool { return s.Phase == r.Until })
}

func (r *run) stopped(ctx context.Context) error {
	bound := "--until"
	if r.Back {
		bound = "--to"
	}
	r.finish(EventStopped, fmt.Sprintf("phase %s is proven; run again without %s to go on", r.Until, bound))
	return r.save(ctx)
}

func (r *run) steps(ctx context.Context, staged *Staged) error {
	steps := r.plan.Steps
	if r.Back {
		steps = r.plan.Back
	}
	at, err := r.begin(ctx, steps, staged)
	if err != nil {
		return err
	}
	if r.stops(steps[at.step:]) {
		if !at.untouched && !(at.step > 0 && !at.written && steps[at.step-1].Phase == r.Until) {
			return fmt.Errorf("%w: %s was to be the last, and what is left begins in %s", ErrPast, r.Until, steps[at.step].Phase)
		}
		return r.stopped(ctx)
	}
	// Once more in the layout that is written from here on, which istiods take at their start
	// alone; or for those whose certificates they judge by the roots of it.
	if at.warmer || r.overlooked(steps, at) {
		steps = slices.Clone(steps)
		steps[at.step].Restart, steps[at.step].always = true, true
	}
	for i := at.step; i < len(steps); i++ {
		step := steps[i]
		if r.phase != step.Phase || i == at.step {
			r.enter(step)
		}
		r.step = step.Name
		if err := r.ready(ctx, steps, i, at); err != nil {
			return err
		}
		if err := r.make(ctx, steps, i, at); err != nil {
			return err
		}
		if err := r.gate(ctx, step); err != nil {
			return err
		}
		if err := r.record(ctx, step); err != nil {
			return err
		}
		if r.stops(steps[i+1:]) {
			return r.stopped(ctx)
		}
		if step.FileWait {
			if err := r.wait(ctx, step); err != nil {
				return err
			}
		}
	}
	r.step = ""
	if r.Back {
		r.phase = RolledBack
		r.journal.state.Phase = RolledBack
		r.finish(EventRolledBack, fmt.Sprintf("the mesh trusts %s and signs with %s, as before", r.plan.OldRoot.Subject, r.plan.OldSigner.Subject))
		return r.save(ctx)
	}
	if r.plan.staysStatic() && !r.started(steps) {
		r.emit(Event{Kind: EventWarning, Object: "istiods", Message: r.plan.static()})
	}
	r.phase = Done
	r.journal.state.Phase = Done
	r.finish(EventDone, fmt.Sprintf("every proxy trusts %s and has a certificate of %s", r.plan.NewRoot.Subject, r.plan.NewSigner.Subject))
	return r.save(ctx)
}

// begin finds out where the mesh stands, and keeps both CAs safe before the first
// change.
func (r *run) begin(ctx context.Context, steps []Step, staged *Staged) (at place, err error) {
	kept := "secret " + r.plan.Namespace + "/" + stagedName
	if err := r.insist(ctx, kept, func() error { return keptStill(ctx, r.Kube, r.plan.Namespace, staged) }); err != nil {
		return at, err
	}
	if err := r.insist(ctx, r.plan.object(), func() error { return r.revive(ctx, staged) }); err != nil {
		return at, err
	}
	err = r.insist(ctx, r.plan.object(), func() (err error) {
		var secret *corev1.Secret
		secret, r.material, at, err = r.plan.standing(ctx, r.Kube, staged, r.Back)
		r.found = entriesOf(secret)
		return err
	})
	if err != nil {
		return at, err
	}
	if at.written {
		r.foundAs = steps[at.step].key()
	}
	config := r.plan.config
	for _, step := range r.plan.Steps {
		r.vouching = append(r.vouching, mustCerts(step.Roots)...)
	}
	r.journal = &journal{kube: r.Kube, namespace: r.plan.Namespace, now: r.Clock.Now, state: Journal{
		ID: r.plan.ID, Strategy: r.plan.Strategy, Reason: r.plan.Reason, Phase: Prepare, Holder: r.Holder, Accepted: r.Accept, Back: r.Back,
		OldRoot: r.plan.OldRoot, NewRoot: r.plan.NewRoot, OldSigner: r.plan.OldSigner, NewSigner: r.plan.NewSigner,
	}}
	if v := r.plan.vmLife; v != nil && v.Told {
		r.journal.state.excepted(Exception{Object: "virtual machines", Why: "how long their certificates live cannot be seen", Reason: "said to be " + v.Life.String(), Fact: v.String(), By: r.Holder, At: r.Clock.Now(), Phase: Prepare})
	}
	if r.Back && at.untouched && (staged == nil || len(steps) == 0) {
		return at, fmt.Errorf("%w: %s holds the old CA", ErrNothing, r.plan.object())
	}
	if at.untouched && r.plan.Strategy != Recover {
		// Nothing has been changed, and a mesh that is not whole is none to begin with.
		r.enter(Step{Phase: Prepare, Name: beginning})
		r.baseline = r.plan.baseline
		// A way back that was killed at its last write may have left both roots loaded; a
		// Citadel's, where each workload has one root, either.
		switch {
		case r.Back: // what was to be written first never was: that the mesh is as it was is left to prove
			r.baseline = steps[len(steps)-1].expect
		case staged != nil && r.plan.citadel:
			r.baseline.Roots = nil
		case staged != nil:
			r.baseline.Besides = r.vouching
		}
		if err := r.sound(ctx); err != nil {
			return at, err
		}
	}
	if !r.Back || !at.untouched {
		if err := r.count(ctx); err != nil {
			return at, err
		}
	}
	sealed := ""
	if r.Seal != nil {
		if sealed, err = r.Seal(SecretCopy{Namespace: r.plan.Namespace, Name: r.plan.source, Data: r.material.old}); err != nil {
			return at, fmt.Errorf("sealing the old CA: %w", err)
		}
		r.emit(Event{Kind: EventWrite, Object: sealed, Message: "the sealed copy of the CA is written"})
	}
	kind := r.plan.Layout
	if r.plan.Adopts {
		kind = mesh.CASelfSigned
	}
	if r.plan.citadel {
		kind = mesh.CACitadel
	}
	keep := &Staged{ID: r.plan.ID, Strategy: r.plan.Strategy, Reason: r.plan.Reason, Kind: kind, Old: r.material.old, New: config.New, Cross: config.Cross}
	if staged == nil {
		// Once both CAs are kept, whoever carries on takes what the journal says for this rotation's.
		if err := r.journaled(ctx, r.journal.anew); err != nil {
			return at, err
		}
		if err := r.insist(ctx, kept, func() error { return stage(ctx, r.Kube, r.plan.Namespace, keep) }); err != nil {
			return at, err
		}
	}
	r.emit(Event{Kind: EventWrite, Object: kept, Message: "old and new CA are kept beside the CA Secret"})
	if err := r.openJournal(ctx); err != nil {
		return at, err
	}
	if sealed != "" {
		r.journal.state.Sealed = sealed
	}
	if err := r.normal(at); err != nil {
		return at, err
	}
	r.journal.state.reopen(at, steps)
	if !at.untouched {
		message := fmt.Sprintf("going on with phase %s (%s)", steps[at.step].Phase, steps[at.step].Name)
		if at.written {
			message = fmt.Sprintf("phase %s (%s) was written before: going on from its proof", steps[at.step].Phase, steps[at.step].Name)
		}
		r.emit(Event{Kind: EventResume, Message: message})
	}
	return at, r.save(ctx)
}

// openJournal reads the journal, or begins it.
func (r *run) openJournal(ctx context.Context) error {
	err := r.insist(ctx, r.journal.object(), func() error { return r.journal.open(ctx) })
	if err == nil && r.journal.broken != "" {
		r.emit(Event{Kind: EventWarning, Object: r.journal.object(), Message: r.journal.object() + " cannot be read as a journal: it is begun anew, and what it said stays in its entry " + brokenEntry})
	}
	return err
}

func (r *run) enter(step Step) {
	r.phase, r.step = step.Phase, step.Name
	r.emit(Event{Kind: EventPhase, Message: about(step)})
}

// beginning names the gate before the first write.
const beginning = "start"

func about(step Step) string {
	if step.Name == beginning {
		return "nothing is changed yet: is the mesh whole, and does every live certificate hold under the roots that are trusted now?"
	}
	return step.About
}

// sound is the gate before the first write: it asks for the mesh as it is to begin with.
// An outage that is mended asks for none.
func (r *run) sound(ctx context.Context) error {
	if r.plan.Strategy == Recover {
		return nil
	}
	r.prepared = time.Time{}
	return r.gate(ctx, Step{Phase: Prepare, Name: beginning, expect: r.baseline})
}

// record writes down that a step is proven, where it is what stands in the CA Secret.
func (r *run) record(ctx context.Context, step Step) error {
	if err := r.stands(ctx, step); err != nil {
		return err
	}
	if _, before := r.journal.state.Proven[step.key()]; !before {
		remember(&r.journal.state.Proven, step, r.at)
	}
	r.journal.state.Phase, r.journal.state.Step = step.Phase, step.Name
	return r.save(ctx)
}

// wait lets pods' trust files follow their ConfigMap: kubelet's refresh, which
// nothing outside the pod can see. What was proven before it is proven once more after it.
func (r *run) wait(ctx context.Context, step Step) error {
	d := r.plan.config.TrustFileWait
	if d <= 0 {
		return nil
	}
	r.emit(Event{Kind: EventWait, Until: r.Clock.Now().Add(d), Message: fmt.Sprintf("%s until every pod's copy of the trust ConfigMap has followed", d)})
	if err := r.let(ctx, d); err != nil {
		return err
	}
	return r.stillProven(ctx, step)
}

// let lets a time pass that is no work of the engine.
func (r *run) let(ctx context.Context, d time.Duration) error {
	began := r.Clock.Now()
	if err := r.pause(ctx, d); err != nil {
		return err
	}
	r.rest(r.Clock.Now().Sub(began))
	return nil
}

// pause waits in the run's own time; it ends early, with the reason, where ctx does.
func (r *run) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.Clock.After(d):
		return nil
	}
}

// rest takes time that was asked for out of the engine's own, and off its deadline.
func (r *run) rest(took time.Duration) {
	r.waited += took
	r.deadline = r.deadline.Add(took)
}

func (r *run) finish(kind EventKind, message string) {
	if !r.first.IsZero() {
		r.figures.Engine = (r.Clock.Now().Sub(r.first) - (r.waited - r.before)).Seconds()
	}
	r.figures.Waits = r.waited.Seconds()
	figures := r.figures
	r.emit(Event{Kind: kind, Message: message, Figures: &figures})
}

func (r *run) emit(e Event) {
	e.Time = r.Clock.Now()
	if e.Phase == "" {
		e.Phase = r.phase
	}
	if e.Step == "" {
		e.Step = r.step
	}
	if r.journal != nil && e.Kind != EventGate {
		r.journal.note(e)
	}
	if r.Emit != nil {
		r.Emit(e)
	}
}
