package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/rotation/restart"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"
)

const rotateExample = `  # what would be done, and whether it can be
  kubectl meshca rotate --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --chain chain.pem --dry-run

  # rotate to a CA of one's own; a sealed copy of old and new CA is kept
  kubectl meshca rotate --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --chain chain.pem \
    --seal-to age1... --identity key.txt --sealed-file before.age

  # on a mesh with Istio's default flags: cross-sign with the old root's key
  kubectl meshca rotate --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --chain chain.pem --old-root-key old-root-key.pem

  # make root and intermediate here, and stop when every proxy trusts both roots
  kubectl meshca rotate --new-ca --seal-to age1... --identity key.txt --sealed-file ca.age --until trust-new

  # a root that only expires: certify it anew, with the key that it has
  kubectl meshca rotate --strategy same-key

  # it has expired: what still works, and the shortest way out
  kubectl meshca plan --strategy recover
  kubectl meshca rotate --strategy recover

  # carry on what was stopped, killed or timed out
  kubectl meshca rotate`

// defaultTrustFileWait is kubelet's refresh (a sync a minute, and a cache of a
// minute) for the pods' copies of a ConfigMap.
const defaultTrustFileWait = 2 * time.Minute

// defaultBaseline is how long traffic is counted before the first write.
const defaultBaseline = 10 * time.Second

type rotateOptions struct {
	meshFlags
	caFlags
	strategy     string
	reason       string
	soak         time.Duration
	baseline     time.Duration
	atOnce       int
	allowRestart []string
	back         bool
	// allowCompromised is for the way back alone.
	allowCompromised bool
	trustFileWait    time.Duration
	vmLife           time.Duration
	timeout          time.Duration
	until            string
	takeOver         string
	accept           []string
	noCSRProof       bool
	singleCluster    bool
	untested         bool
	// byOwner is for a plan that others carry out.
	byOwner bool
	yes     bool
	dryRun  string
	output  string
}

func newRotateCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	var o rotateOptions
	cmd := &cobra.Command{
		Use:     "rotate",
		Aliases: []string{"transition"},
		Short:   "Replace the root of the mesh, phase by phase, each proven on every live proxy",
		Long: "Replaces the root CA of the mesh without a failed request. Each phase writes one thing\n" +
			"and waits until every istiod, ConfigMap, webhook and live proxy proves it. It can be\n" +
			"stopped anywhere; run again, it goes on from what is true.\n\n" +
			"Exit codes: 0 done (or --until reached), 2 refused or a gate is closed, 124 a gate did\n" +
			"not open in time (the mesh is safe), 1 it could not be done, 64 bad usage.",
		Example: rotateExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, c, streams)
		},
	}
	o.planFlags(cmd)
	o.csrFlag(cmd)
	o.runFlags(cmd, "until")
	return cmd
}

// runFlags are those of a run, forward or back; until names the flag that ends it.
func (o *rotateOptions) runFlags(cmd *cobra.Command, until string) {
	flags := cmd.Flags()
	o.gateFlags(cmd, until)
	flags.StringVar(&o.takeOver, "take-over", "", "user@host/process that holds the lease and is known to be dead: do not wait until it runs out")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask before the first change")
	dryRunFlag(cmd, &o.dryRun, "none; client: plan only; server: send the next write to the API server, which keeps nothing")
	flags.StringVarP(&o.output, "output", "o", "table", "table, or json: one Event a line")
	flags.DurationVar(&o.baseline, "traffic-baseline", defaultBaseline, "how long traffic is counted before the first write, so that failures that rise close a gate; 0 leaves it out")
	completions(cmd, "output", "table", "json")
}

// gateFlags are those that decide how long a run waits, and for whom.
func (o *rotateOptions) gateFlags(cmd *cobra.Command, until string) {
	flags := cmd.Flags()
	waitFlag(flags, &o.timeout, "the plan's longest wait and 10m")
	flags.StringVar(&o.until, until, "", "stop after this phase, where the strategy has it: "+strings.Join(phaseNames(), ", "))
	flags.StringArrayVar(&o.accept, "accept", nil, "namespace/name=reason: let this object stay unknown (never a failure that was seen)")
	flags.DurationVar(&o.soak, "soak", 0, "how long a gate must have been open before the next write")
	flags.IntVar(&o.atOnce, "restarts-at-once", restart.DefaultAtOnce, "how many workloads are restarted at one time, where the strategy restarts any")
	flags.StringArrayVar(&o.allowRestart, "allow-restart", nil, "namespace/name of a workload that may be restarted though it serves nobody meanwhile")
	completions(cmd, until, phaseNames()...)
}

// planFlags are those that decide what the plan is.
func (o *rotateOptions) planFlags(cmd *cobra.Command) {
	o.meshFlags.addFlags(cmd.Flags())
	o.caFlags.addFlags(cmd)
	cmd.Flags().StringVar(&o.strategy, "strategy", "", "one of "+strings.Join(strategyNames(), ", ")+" (default: the best that is possible)")
	cmd.Flags().StringVar(&o.reason, "reason", string(rotation.Expiring), "why the CA is replaced: expiring, compromised or move; it weighs the strategies")
	o.meshKindFlags(cmd)
	completions(cmd, "strategy", strategyNames()...)
	completions(cmd, "reason", reasonNames()...)
	completions(cmd, "key", keySpecNames()...)
}

// proofFlags are those that say what is proof enough, whatever the plan.
func (o *rotateOptions) proofFlags(cmd *cobra.Command) {
	o.meshKindFlags(cmd)
	o.csrFlag(cmd)
}

// csrFlag is for what proves a write: a plan asks no istiod to sign, with it or
// without.
func (o *rotateOptions) csrFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.noCSRProof, "no-csr-proof", false, "do not ask istiods to sign a throw-away request: the chain they serve is the evidence then")
}

// meshKindFlags say of the mesh what cannot be seen, or is not taken on trust.
func (o *rotateOptions) meshKindFlags(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&o.trustFileWait, "trust-file-wait", defaultTrustFileWait, "how long pods' copies of the trust ConfigMap may lag; 0 only where every agent is 1.20.1 or newer")
	cmd.Flags().DurationVar(&o.vmLife, "vm-certificate-life", 0, "what virtual machines' agents ask for (SECRET_TTL; 24h unless set); default: the most that istiods allow")
	cmd.Flags().BoolVar(&o.untested, "untested", false, "write to meshes of a kind that this has never been proven on (ambient, Citadel before 1.4)")
	cmd.Flags().BoolVar(&o.singleCluster, "single-cluster", false, "gateways and networks of the mesh config are this cluster's own")
}

func (o *rotateOptions) validate() error {
	if err := errors.Join(o.meshFlags.validate(), o.caFlags.validate()); err != nil {
		return err
	}
	switch {
	case o.strategy != "" && !slices.Contains(rotation.Strategies(), rotation.Strategy(o.strategy)):
		return usage(fmt.Errorf("unknown strategy %q", o.strategy), "use one of "+strings.Join(strategyNames(), ", "))
	case !slices.Contains(reasonNames(), o.reason):
		return usage(fmt.Errorf("unknown reason %q", o.reason), "use one of "+strings.Join(reasonNames(), ", "))
	case o.soak < 0 || o.baseline < 0:
		return usage(fmt.Errorf("--soak %s and --traffic-baseline %s may not be negative", o.soak, o.baseline), "0 leaves the wait out")
	case o.atOnce < 0:
		return usage(fmt.Errorf("--restarts-at-once %d is negative", o.atOnce), "1 restarts one workload after the other")
	case o.until != "" && !slices.Contains(phaseNames(), o.until):
		return usage(fmt.Errorf("unknown phase %q", o.until), "use one of "+strings.Join(phaseNames(), ", "))
	case o.trustFileWait < 0:
		return usage(fmt.Errorf("--trust-file-wait %s is negative", o.trustFileWait), "0 leaves the wait out")
	case o.vmLife < 0:
		return usage(fmt.Errorf("--vm-certificate-life %s is negative", o.vmLife), "say what their agents ask for, or leave it out")
	case o.dryRun != "" && validDryRun(o.dryRun) != nil: // plan has none
		return validDryRun(o.dryRun)
	case o.output != "" && o.output != "table" && o.output != "json":
		return usage(fmt.Errorf("unknown output format %q", o.output), "use table or json")
	}
	_, err := o.accepted()
	return err
}

func (o *rotateOptions) accepted() (map[string]string, error) { return acceptances(o.accept) }

// acceptances are what --accept says: objects that may stay unknown, with the reason.
func acceptances(texts []string) (map[string]string, error) {
	all := map[string]string{}
	for _, text := range texts {
		object, reason, ok := strings.Cut(text, "=")
		if !ok || object == "" || strings.TrimSpace(reason) == "" {
			return nil, usage(fmt.Errorf("--accept %q", text), "write namespace/name=reason: the reason goes into the journal")
		}
		all[object] = reason
	}
	return all, nil
}

func (o *rotateOptions) run(cmd *cobra.Command, c *cluster, streams genericiooptions.IOStreams) (err error) {
	ctx := cmd.Context()
	if err := o.validate(); err != nil {
		return err
	}
	if o.dryRun == "" || o.dryRun == "none" {
		if err := o.asked(streams); err != nil {
			return err
		}
	}
	ca, err := o.material()
	if err != nil {
		return err
	}
	// Before it is confirmed nothing is made in the cluster, not even for a proof.
	observer, err := o.observer(c, false)
	if err != nil {
		return err
	}
	defer observer.leave(ctx, streams)
	prepared, err := o.prepare(ctx, observer, ca)
	if err != nil {
		return err
	}
	if o.back {
		if err := o.mayGoBack(prepared); err != nil {
			return err
		}
	}
	plan := prepared.plan
	if o.until != "" && plan.Strategy != "" && !slices.Contains(plan.Phases(), rotation.Phase(o.until)) {
		return usage(fmt.Errorf("--until %s: %s has no such phase", o.until, plan.Strategy), "use one of "+strings.Join(names(plan.Phases()), ", "))
	}
	printer := newEventPrinter(streams, o.output)
	if o.dryRun == "client" || len(plan.Refusals) > 0 {
		if err := printer.plan(plan); err != nil {
			return err
		}
		return refusal(plan)
	}
	if o.dryRun == "server" {
		return dryRun(ctx, observer, printer, prepared, streams)
	}
	if err := printer.brief(plan); err != nil {
		return failed(fmt.Errorf("writing the plan: %w", err), "")
	}
	seal, err := o.sealing(ctx, &input{stdin: streams.In}, streams)
	if err != nil {
		return err
	}
	if err := o.acknowledge(seal, streams); err != nil {
		return err
	}
	if err := o.confirm(streams, plan); err != nil {
		return err
	}
	accept, err := o.accepted()
	if err != nil {
		return err
	}
	observer.prober.CSR = !o.noCSRProof
	engine := o.engine(observer, plan, wallClock{}, accept, printer.event)
	if seal != nil {
		engine.Seal = func(old rotation.SecretCopy) (string, error) {
			ca.authority = prepared.ca
			return seal.file, seal.write(plan, old.Data, ca)
		}
	}
	err = engine.Run(ctx, plan, prepared.staged)
	printer.end()
	if err == nil {
		o.offer(ctx, observer, prepared.snapshot, streams)
	}
	return outcome(err)
}

// engine makes a plan so, as the flags ask, and leaves an audit trail of it.
func (o *rotateOptions) engine(observer *observer, plan *rotation.Plan, clock rotation.Clock, accept map[string]string, emit func(rotation.Event)) *rotation.Engine {
	audit := &rotation.Audit{Kube: observer.collector.Kube, Holder: holder(), Warn: emit}
	engine := &rotation.Engine{
		Kube: observer.collector.Kube, Observer: observer, Clock: clock, Emit: audit.Then(emit), Holder: holder(), Accept: accept,
		Until: rotation.Phase(o.until), Timeout: o.timeout, Soak: o.soak, Baseline: o.baseline, AtOnce: o.atOnce, AllowRestart: o.allowRestart, Back: o.back,
		Dead: o.takeOver,
	}
	if o.timeout < 0 {
		engine.Timeout = plan.Cost.LongestWait + 10*time.Minute
	}
	return engine
}

// dryRun shows the plan and has the API server judge its next write.
func dryRun(ctx context.Context, observer *observer, printer *eventPrinter, p prepared, streams genericiooptions.IOStreams) error {
	if err := printer.plan(p.plan); err != nil {
		return failed(fmt.Errorf("writing the plan: %w", err), "")
	}
	step, more, err := rotation.DryRun(ctx, observer.collector.Kube, p.plan, p.staged)
	switch {
	case err != nil:
		return outcome(err)
	case !more:
		fmt.Fprintln(streams.ErrOut, "nothing is left to write (server dry run)")
	default:
		fmt.Fprintf(streams.ErrOut, "the API server would take the next write: phase %s, %s (server dry run)\n", step.Phase, step.Name)
	}
	return nil
}

// material reads the new CA, where the flags name one.
func (o *rotateOptions) material() (newCA, error) {
	if !o.given() {
		return newCA{}, nil
	}
	return o.load(time.Now())
}

// prepared is a plan and what it was made from.
type prepared struct {
	plan     *rotation.Plan
	staged   *rotation.Staged
	snapshot *mesh.Snapshot
	ca       *pki.Authority // what it rotates to
}

// prepare looks at the mesh and plans; where an earlier run was stopped, it plans
// what that one did.
func (o *rotateOptions) prepare(ctx context.Context, observer *observer, ca newCA) (prepared, error) {
	s, err := observer.whole(ctx)
	if err != nil {
		return prepared{}, err
	}
	p := prepared{snapshot: s}
	config := o.config(ca.authority)
	if len(s.ControlPlanes) > 0 {
		namespace := s.ControlPlanes[0].Namespace
		if p.staged, err = rotation.FindStaged(ctx, observer.collector.Kube, namespace); err != nil {
			return p, explain(err)
		}
	}
	switch {
	case p.staged != nil && (ca.authority == nil || ca.authority.Cert.Equal(p.staged.New.Cert) && ca.authority.Roots.Set().Equal(p.staged.New.Roots.Set())):
		config.New, config.Cross, config.Strategy, config.Resumed = p.staged.New, p.staged.Cross, p.staged.Strategy, true
		if p.staged.Reason != "" {
			config.Reason = p.staged.Reason
		}
		rotation.Rewind(s, p.staged)
	case p.staged != nil:
		return p, found(fmt.Errorf("%w: rotation %s to %s is not retired", rotation.ErrStaged, p.staged.ID, p.staged.New.Cert.Subject()),
			"finish it with 'kubectl meshca rotate' without CA flags, then 'kubectl meshca retire'")
	case o.back:
		return p, nil
	case ca.authority == nil && o.keepsKey() && len(s.ControlPlanes) > 0:
		if config.New, err = o.renewed(ctx, observer.collector.Kube, s, time.Now()); err != nil {
			return p, err
		}
	case ca.authority == nil && len(s.ControlPlanes) > 0:
		return p, usage(errors.New("no new CA is named, and no rotation is under way"), "give --root, --ca-cert, --ca-key and --chain, or --new-ca with --seal-to and --sealed-file; a root that only expires needs none with --strategy same-key")
	case ca.authority != nil:
		if config.Cross, err = o.crossCert(s, ca.authority, time.Now()); err != nil {
			return p, err
		}
		if config.Cross == nil {
			if config.Cross, err = rotation.CrossSigned(ctx, observer.collector.Kube, s, ca.authority.Roots.Certs[0], time.Now()); err != nil {
				return p, explain(err)
			}
		}
	}
	p.ca = config.New
	p.plan = rotation.NewPlan(s, config)
	return p, nil
}

// config is what the flags ask of a plan.
func (o *rotateOptions) config(ca *pki.Authority) rotation.Config {
	c := rotation.Config{New: ca, Strategy: rotation.Strategy(o.strategy), TrustFileWait: o.trustFileWait, VMCertificateLife: o.vmLife, CSRProof: !o.noCSRProof, SingleCluster: o.singleCluster,
		Reason: rotation.Reason(o.reason), Back: o.back, ByOwner: o.byOwner}
	if o.untested {
		c.Override = append(c.Override, rotation.Ambient, rotation.Citadel)
	}
	return c
}

// refusal is the error of a plan that will not be run.
func refusal(plan *rotation.Plan) error {
	if len(plan.Refusals) == 0 {
		return nil
	}
	first := plan.Refusals[0]
	more := ""
	if n := len(plan.Refusals) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more reasons)", n)
	}
	err := fmt.Errorf("refused: %s: %s%s", first.Object, first.Why, more)
	if first.ID == "unreadable" {
		return failed(err, first.Hint) // a permission or a connection is missing: nothing was found out
	}
	return found(err, first.Hint)
}

// outcome gives an engine's end its exit code and hint.
func outcome(err error) error {
	var gate *rotation.GateError
	var held *rotation.HeldError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &gate) && gate.TimedOut:
		return &Failure{Err: err, Code: ExitTimeout, Hint: "the mesh is safe as it stands; mend what is named and run 'kubectl meshca rotate' again: it goes on from here"}
	case errors.As(err, &gate):
		return found(fmt.Errorf("refused, nothing was changed: %w", err), "mend what is named first; 'kubectl meshca verify' shows all of it")
	case errors.Is(err, rotation.ErrAway):
		return &Failure{Err: err, Code: ExitTimeout, Hint: "the mesh is safe as it stands; run 'kubectl meshca rotate' again when the API server answers: it goes on from here"}
	case errors.As(err, &held):
		return found(err, fmt.Sprintf("wait until it ends; a dead holder's lease runs out within a minute, or, if you know that it is dead: --take-over '%s'", held.State.Holder.Identity()))
	case errors.Is(err, rotation.ErrHeld):
		return found(err, "wait until it ends; a dead holder's lease runs out within a minute")
	case errors.Is(err, rotation.ErrStaged):
		return found(err, "finish it, then 'kubectl meshca retire'")
	case errors.Is(err, rotation.ErrForeign):
		return found(err, "find out who wrote it: this rotation goes on only from what it knows")
	case errors.Is(err, rotation.ErrNothing):
		return found(err, "")
	case errors.Is(err, restart.ErrStuck):
		return &Failure{Err: err, Code: ExitTimeout, Hint: "the mesh is safe as it stands; see why the workload does not come up, and run the same command again"}
	case errors.Is(err, rotation.ErrRefused):
		return found(err, "")
	case apierrors.IsConflict(err):
		return found(err, "somebody wrote it at the same moment: run the same command again, it looks and plans anew")
	}
	return explain(err)
}

// confirm asks once before the first change.
func (o *rotateOptions) confirm(streams genericiooptions.IOStreams, plan *rotation.Plan) error {
	if o.yes || plan.AlreadyDone {
		return nil
	}
	if !isTerminal(streams.In) {
		return usage(errors.New("there is nobody to ask"), "read the plan with --dry-run, then give --yes")
	}
	fmt.Fprintf(streams.ErrOut, "Go on? [y/N] ")
	answer, err := readLine(streams.In)
	if err != nil || !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes") {
		return found(errors.New("not confirmed: nothing was changed"), "")
	}
	return nil
}

// write seals old and new CA, and a root's key that was made here.
func (s *sealing) write(plan *rotation.Plan, old map[string][]byte, ca newCA) error {
	entries := map[string]string{}
	for name, value := range old {
		entries["old/"+name] = string(value)
	}
	files, err := ca.authority.Files()
	if err != nil {
		return err
	}
	for _, f := range files.All() {
		entries["new/"+f.Name] = string(f.Data)
	}
	if ca.root != nil {
		rootKey, err := ca.root.KeyPEM()
		if err != nil {
			return err
		}
		entries["new/root-key.pem"] = string(rootKey)
	}
	text, err := yaml.Marshal(map[string]any{"rotation": plan.ID, "secret": plan.Namespace + "/" + plan.Secret, "files": entries})
	if err != nil {
		return err
	}
	return pki.WriteSealed(s.file, text, s.recipients, s.trial)
}

// holder names who runs this, and where.
func holder() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s@%s/%d", name, host, os.Getpid())
}

// wallClock is time as it is.
type wallClock struct{}

func (wallClock) Now() time.Time                         { return time.Now() }
func (wallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func phaseNames() []string {
	all := []string{string(rotation.Prepare), string(rotation.Adopt)}
	for _, s := range rotation.Strategies() {
		for _, p := range s.Phases() {
			if !slices.Contains(all, string(p)) {
				all = append(all, string(p))
			}
		}
	}
	return all
}

func strategyNames() []string {
	var all []string
	for _, s := range rotation.Strategies() {
		all = append(all, string(s))
	}
	return all
}

func reasonNames() []string {
	var all []string
	for _, r := range rotation.Reasons() {
		all = append(all, string(r))
	}
	return all
}

func names(phases []rotation.Phase) []string {
	var all []string
	for _, p := range phases {
		all = append(all, string(p))
	}
	return all
}

func keySpecNames() []string {
	var all []string
	for _, k := range pki.KeySpecs() {
		all = append(all, string(k))
	}
	return all
}
