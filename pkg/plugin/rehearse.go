package plugin

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal/scenario"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const rehearseExample = `  # the rotation of this mesh, on a copy of it in memory
  kubectl meshca rehearse --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --chain chain.pem

  # from a saved snapshot, offline
  kubectl meshca rehearse --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --from-snapshot mesh.json

  # until both roots are trusted, and back from there
  kubectl meshca rehearse --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --until trust-new --back

  # the Events that 'rotate -o json' would tell
  kubectl meshca rehearse --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --from-snapshot mesh.json -o events`

// events is the output format in which a rehearsal tells what a rotation would.
const events = "events"

func newRehearseCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	var o rotateOptions
	var from string
	var back bool
	cmd := &cobra.Command{
		Use:   "rehearse",
		Short: "Run the plan on a copy of the mesh in memory, and say how it would go",
		Long: "Copies the mesh into memory: the same control planes, releases, flags, namespaces and\n" +
			"proxies, with keys of its own. Runs the plan there and says how long each phase takes,\n" +
			"for which namespace, what is asked of istiod, who lags, and which gate would close.\n" +
			"Nothing is written to the cluster. Real traffic is not rehearsed.\n\n" +
			"Exit codes: 0 it would go through, 2 it would not, 1 it could not be done, 64 bad usage.",
		Example: rehearseExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validateRehearsal(); err != nil {
				return err
			}
			ca, err := o.material()
			if err != nil {
				return err
			}
			if ca.authority == nil && !o.keepsKey() {
				return usage(errors.New("no new CA is named"), "give --root, --ca-cert, --ca-key and --chain, or --new-ca; a root that only expires needs none with --strategy same-key")
			}
			s, err := o.subject(cmd.Context(), c, streams, from)
			if err != nil {
				return err
			}
			return o.rehearse(cmd.Context(), c, streams, s, ca.authority, back)
		},
	}
	o.planFlags(cmd)
	o.csrFlag(cmd)
	o.gateFlags(cmd, "until")
	cmd.Flags().BoolVar(&back, "back", false, "then go back from there, as 'rollback' would")
	formats := append(outputs(), events)
	cmd.Flags().StringVarP(&o.output, "output", "o", "table", "one of "+strings.Join(formats, ", ")+"; events are those of the rotation, one a line")
	completions(cmd, "output", formats...)
	fromFlag(cmd.Flags(), &from)
	return cmd
}

// validateRehearsal is validate with outputs of its own.
func (o *rotateOptions) validateRehearsal() error {
	format := o.output
	o.output = ""
	err := o.validate()
	if o.output = format; format != events {
		err = errors.Join(err, validOutput(format))
	}
	return err
}

// subject is the mesh to copy.
func (o *rotateOptions) subject(ctx context.Context, c *cluster, streams genericiooptions.IOStreams, from string) (*mesh.Snapshot, error) {
	if from != "" {
		return o.saved(from, streams)
	}
	observer, err := o.observer(c, false)
	if err != nil {
		return nil, err
	}
	return observer.whole(ctx)
}

func (o *rotateOptions) rehearse(ctx context.Context, c *cluster, streams genericiooptions.IOStreams, s *mesh.Snapshot, ca *pki.Authority, back bool) error {
	config := o.config(ca)
	printer := c.printer(streams, o.output)
	printer.json = o.output != "table" && o.output != "wide"
	var plan *rotation.Plan
	if ca != nil {
		var err error
		if config.Cross, err = o.crossCert(s, ca, s.TakenAt); err != nil {
			return err
		}
		plan = rotation.NewPlan(s, config)
		// Where the old root's key is in the cluster, which a snapshot has not got, the
		// strategy is chosen by the copy.
		if !vouches(s) {
			if len(plan.Refusals) > 0 || plan.AlreadyDone {
				return refusedRehearsal(printer, plan)
			}
			config.Strategy = plan.Strategy
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer rehearsal.Lean()()
	clock := rehearsal.NewVirtual(s.TakenAt)
	copied, err := rehearsal.CopyOf(ctx, clock, s)
	if errors.Is(err, rehearsal.ErrUnrooted) {
		if plan != nil && len(plan.Refusals) > 0 {
			return refusedRehearsal(printer, plan)
		}
		return found(fmt.Errorf("nothing is rehearsed: %w", err), "'kubectl meshca plan --strategy recover' says what still works and in which order it goes on")
	}
	if err == nil {
		err = o.standIns(ctx, &config, copied, s)
	}
	if err != nil {
		return failed(fmt.Errorf("copying the mesh into memory: %w", err), "")
	}
	accept, err := o.accepted()
	if err != nil {
		return err
	}
	if !c.quiet {
		fmt.Fprintf(streams.ErrOut, "rehearsing on a copy of %d proxies in memory\n", len(s.Proxies))
	}
	starting := clock.Worker(1)
	go clock.Run(ctx, wallClock{})
	copied.Mesh.Signed() // the copy's start is nobody's cost
	r := &rehearsed{APIVersion: mesh.APIVersion, Kind: "Rehearsal", Strategy: config.Strategy}
	trial := &scenario.Trial{Mesh: copied.Mesh, Clock: clock, Config: config, Accept: accept, Until: rotation.Phase(o.until),
		Soak: o.soak, AtOnce: o.atOnce, AllowRestart: o.allowRestart,
		Emit: func(e rotation.Event) {
			starting.Done() // from here on the engine itself keeps the clock
			if e.Plan != nil {
				r.Strategy = e.Plan.Strategy
			}
			if o.output == events {
				printer.event(e)
			}
			r.take(e)
		}}
	if o.timeout >= 0 {
		trial.Timeout = max(o.timeout, 1) // zero is another thing to a Trial
	}
	out := trial.Run(ctx)
	if back && out.Err == nil {
		trial.Back, trial.Until = true, ""
		out = trial.Run(ctx)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if out.Plan != nil && len(out.Plan.Refusals) > 0 {
		return refusedRehearsal(printer, out.Plan)
	}
	r.end(out, copied.Mesh, clock.Now())
	if o.output != events {
		if err := printResult(streams.Out, o.output, r); err != nil {
			return err
		}
	}
	if !r.Passes {
		return found(errors.New("it would not go through: "+r.Why), "mend what is named, or choose another strategy ('kubectl meshca plan' lists them)")
	}
	return nil
}

// refusedRehearsal shows a plan that there is nothing to rehearse of, and ends as it does.
func refusedRehearsal(printer *eventPrinter, plan *rotation.Plan) error {
	if err := printer.plan(plan); err != nil {
		return failed(fmt.Errorf("writing the plan: %w", err), "")
	}
	return refusal(plan)
}

// vouches reports whether the old root's own key is in the mesh's CA Secret, so that
// rotate cross-signs with it (rotation.CrossSigned).
func vouches(s *mesh.Snapshot) bool {
	if len(s.ControlPlanes) == 0 {
		return false
	}
	ca := s.ControlPlanes[0].CA
	return len(ca.Cert.Certs) > 0 && ca.Root.Set().Has(ca.Cert.Certs[0])
}

// standIns puts into a plan's material what the copy's keys must have signed.
func (o *rotateOptions) standIns(ctx context.Context, config *rotation.Config, copied *rehearsal.Copy, s *mesh.Snapshot) (err error) {
	if config.New != nil {
		if config.New, err = copied.Like(config.New, s.TakenAt); err != nil {
			return err
		}
		if config.Cross != nil {
			config.Cross, err = copied.OldRoot.CrossSign(config.New.Roots.Certs[0], s.TakenAt)
			return err
		}
	}
	there, err := copied.Mesh.Collector().Collect(ctx)
	if err != nil {
		return err
	}
	if config.New != nil {
		config.Cross, err = rotation.CrossSigned(ctx, copied.Mesh.Kube, there, config.New.Roots.Certs[0], s.TakenAt)
		return err
	}
	var key crypto.Signer
	if o.oldRootKey != "" {
		key = copied.OldRoot.Key
	}
	config.New, err = rotation.Renewed(ctx, copied.Mesh.Kube, there, key, s.TakenAt)
	return err
}

// rehearsed is how a rotation went on the copy.
type rehearsed struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Strategy   rotation.Strategy `json:"strategy"`
	Passes     bool              `json:"passes"`
	Why        string            `json:"why,omitempty"`
	Seconds    float64           `json:"seconds"`
	Steps      []rehearsedStep   `json:"steps"`
	// CSRs are all certificate requests, Burst the most within a second.
	CSRs           int `json:"csrs"`
	Burst          int `json:"burst"`
	IstiodRestarts int `json:"istiodRestarts"`
	// Workloads are pods of workloads that were replaced.
	Workloads int `json:"workloadRestarts"`
	// FailedPairs are pairs of proxies that would have refused each other.
	FailedPairs int `json:"failedPairs"`
	Judged      int `json:"judgedPairs"`
	// Closed is the phase whose gate stays closed, and By what keeps it so.
	Closed rotation.Phase     `json:"closed,omitempty"`
	By     []rotation.Blocker `json:"by,omitempty"`

	began time.Time
}

// rehearsedStep is one write and its gate: when, for how long, and who was last.
type rehearsedStep struct {
	Phase      rotation.Phase      `json:"phase"`
	Step       string              `json:"step"`
	At         float64             `json:"atSeconds"`
	Took       float64             `json:"tookSeconds"`
	Namespaces []rehearsedProgress `json:"namespaces,omitempty"`
	Last       string              `json:"last,omitempty"`
}

// rehearsedProgress is when a namespace's proxies had all followed.
type rehearsedProgress struct {
	Namespace string  `json:"namespace"`
	Proxies   int     `json:"proxies"`
	Took      float64 `json:"tookSeconds"`
}

// take follows a rotation by its Events.
func (r *rehearsed) take(e rotation.Event) {
	if r.began.IsZero() {
		r.began = e.Time
	}
	if f := e.Figures; f != nil { // of each run: with --back there are two
		r.IstiodRestarts, r.Workloads = r.IstiodRestarts+f.Restarts, r.Workloads+f.Workloads
	}
	at := e.Time.Sub(r.began).Seconds()
	if e.Kind != rotation.EventGate && e.Kind != rotation.EventPassed && (e.Kind != rotation.EventWrite || e.Step == "") {
		return
	}
	if n := len(r.Steps); n == 0 || r.Steps[n-1].Phase != e.Phase || r.Steps[n-1].Step != e.Step {
		r.Steps = append(r.Steps, rehearsedStep{Phase: e.Phase, Step: e.Step, At: at})
	}
	step := &r.Steps[len(r.Steps)-1]
	step.Took = at - step.At
	if e.Gate == nil {
		return
	}
	for _, p := range e.Gate.Namespaces {
		i := slices.IndexFunc(step.Namespaces, func(n rehearsedProgress) bool { return n.Namespace == p.Namespace })
		if i < 0 {
			i = len(step.Namespaces)
			step.Namespaces = append(step.Namespaces, rehearsedProgress{Namespace: p.Namespace, Took: -1})
		}
		n := &step.Namespaces[i]
		n.Proxies = p.Proxies
		if p.Ready < p.Proxies {
			n.Took = -1
		} else if n.Took < 0 {
			n.Took = step.Took
		}
	}
	if len(e.Gate.Blockers) > 0 {
		step.Last = e.Gate.Blockers[len(e.Gate.Blockers)-1].Object
	}
}

// end sums up.
func (r *rehearsed) end(out scenario.Outcome, m *rehearsal.Mesh, now time.Time) {
	signed := m.Signed()
	failures, judged := m.Failures()
	r.CSRs, r.Burst, r.FailedPairs, r.Judged = signed.All, signed.Most, len(failures), judged
	if !r.began.IsZero() {
		r.Seconds = now.Sub(r.began).Seconds()
	}
	var gate *rotation.GateError
	switch {
	case errors.As(out.Err, &gate):
		r.Closed, r.By, r.Why = gate.Phase, gate.Status.Blockers, gate.Error()
	case out.Err != nil:
		r.Why = out.Err.Error()
	case !out.Proof.Open():
		r.Why = "afterwards: " + out.Proof.Blockers[0].String()
	case len(failures) > 0:
		r.Why = fmt.Sprintf("%s would refuse %s: %s", failures[0].Server, failures[0].Client, failures[0].Reason)
	default:
		r.Passes = true
	}
}

func (r *rehearsed) rows(bool) [][]string {
	rows := [][]string{{"PHASE", "STEP", "AT", "TAKES", "NAMESPACES"}}
	for _, s := range r.Steps {
		var parts []string
		for _, n := range s.Namespaces {
			took := "not"
			if n.Took >= 0 {
				took = span(n.Took)
			}
			parts = append(parts, fmt.Sprintf("%s %s", n.Namespace, took))
		}
		rows = append(rows, []string{string(s.Phase), s.Step, span(s.At), span(s.Took), strings.Join(parts, ", ")})
	}
	var tail [][]string
	line := func(format string, args ...any) { tail = append(tail, []string{fmt.Sprintf(format, args...)}) }
	workloads := "no workload restarted"
	if r.Workloads > 0 {
		workloads = fmt.Sprintf("%d workload pods restarted", r.Workloads)
	}
	line("%d certificate requests, at most %d within a second; %d istiods restarted, %s", r.CSRs, r.Burst, r.IstiodRestarts, workloads)
	for _, s := range r.Steps {
		if s.Last != "" && s.Took > 0 {
			line("last in %s (%s): %s", s.Phase, s.Step, s.Last)
		}
	}
	line("%s of %d judged pairs of proxies failed", strconv.Itoa(r.FailedPairs), r.Judged)
	if r.Passes {
		line("it would go through in %s", span(r.Seconds))
	} else {
		line("it would NOT go through: %s", r.Why)
	}
	return append(rows, tail...)
}

func (r *rehearsed) names() (all []string) {
	for _, s := range r.Steps {
		all = append(all, string(s.Phase)+"/"+strings.ReplaceAll(s.Step, " ", "-"))
	}
	return all
}

// span is a length of time for people.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
