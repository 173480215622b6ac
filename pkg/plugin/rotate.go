package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
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
	// allowCompromised and allowEnding are for the way back alone.
	allowCompromised, allowEnding bool
	trustFileWait                 time.Duration
	vmLife                        time.Duration
	timeout                       time.Duration
	until                         string
	takeOver                      string
	accept                        []string
	noCSRProof                    bool
	singleCluster                 bool
	untested                      bool
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

func (o *rotateOptions) run(cmd *cobra.Command, c *cluster, streams genericiooptions.IOStreams) (err error) {
	ctx := cmd.Context()
	if err := o.validate(); err != nil {
		return err
	}
	if o.atOnce < 1 { // plan has no such flag
		return usage(fmt.Errorf("--restarts-at-once %d must be positive", o.atOnce), "1 restarts one workload after the other")
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
		flag := "--until"
		if o.back {
			flag = "--to"
		}
		return usage(fmt.Errorf("%s %s: %s has no such phase", flag, o.until, plan.Strategy), "use one of "+strings.Join(names(plan.Phases()), ", "))
	}
	printer := c.printer(streams, o.output)
	if o.dryRun == "client" || len(plan.Refusals) > 0 {
		if err := printer.plan(plan); err != nil {
			return err
		}
		if err := refusal(plan); err != nil {
			return err
		}
		return unbegun(plan)
	}
	if o.dryRun == "server" {
		return dryRun(ctx, observer, printer, prepared, streams)
	}
	if err := printer.brief(plan); err != nil {
		return failed(fmt.Errorf("writing the plan: %w", err), "")
	}
	seal, err := o.sealingOf(ctx, observer, prepared, streams)
	if err != nil {
		return err
	}
	if err := o.acknowledge(ctx, seal, streams); err != nil {
		return err
	}
	if err := o.confirm(ctx, streams, plan, prepared.snapshot.Cluster); err != nil {
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
	outlivesReaders()
	err = engine.Run(ctx, plan, prepared.staged)
	printer.end()
	if err == nil {
		offer(ctx, observer, prepared.snapshot, c.carry, streams)
	}
	return ended(err, o.back)
}

// sealingOf is where the old CA is sealed to, nil where nothing is, or where this very
// rotation has done so before.
func (o *rotateOptions) sealingOf(ctx context.Context, observer *observer, p prepared, streams genericiooptions.IOStreams) (*sealing, error) {
	if len(o.sealTo) > 0 && p.staged != nil && exists(o.sealedFile) {
		journal, err := rotation.ReadStaged(ctx, observer.collector.Kube, p.plan.Namespace)
		if err != nil {
			return nil, explain(err)
		}
		if journal != nil && journal.Sealed == o.sealedFile {
			fmt.Fprintf(streams.ErrOut, "note: %s was written when this rotation began, and stays as it is\n", plain(o.sealedFile))
			return nil, nil
		}
	}
	return o.sealing(ctx, &input{stdin: streams.In}, streams)
}

// engine makes a plan so, as the flags ask, and leaves an audit trail of it.
func (o *rotateOptions) engine(observer *observer, plan *rotation.Plan, clock rotation.Clock, accept map[string]string, emit func(rotation.Event)) *rotation.Engine {
	audit := &rotation.Audit{Kube: observer.collector.Kube, Holder: holder(), Warn: emit}
	engine := &rotation.Engine{
		Kube: observer.collector.Kube, Observer: observer, Clock: clock, Emit: audit.Then(emit), Holder: holder(), Accept: accept,
		Until: rotation.Phase(o.until), Timeout: o.timeout, Soak: o.soak, Baseline: o.baseline, AtOnce: o.atOnce, AllowRestart: o.allowRestart, Back: o.back,
		Dead: o.takeOver, Process: observer.process,
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
	return unbegun(p.plan)
}

// confirm asks once before the first change, and says of which cluster: whoever has many
// contexts may be in another one than he thinks.
func (o *rotateOptions) confirm(ctx context.Context, streams genericiooptions.IOStreams, plan *rotation.Plan, where mesh.Cluster) error {
	if o.yes || plan.AlreadyDone {
		return nil
	}
	if !isTerminal(streams.In) {
		return usage(errors.New("there is nobody to ask"), "read the plan with --dry-run, then give --yes")
	}
	in := ""
	if name := called(where); name != "" {
		in = " in " + plain(name)
	}
	fmt.Fprintf(streams.ErrOut, "Go on%s? [y/N] ", in)
	typed, err := answer(ctx, streams)
	if err != nil || !strings.EqualFold(typed, "y") && !strings.EqualFold(typed, "yes") {
		return found(errors.New("not confirmed: nothing was changed"), "")
	}
	return nil
}
