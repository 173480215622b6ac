package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const certManagerExample = `  # what a renewal of the intermediate would do, and whether it can be done
  kubectl meshca cert-manager renew --dry-run

  # renew it now; end when every istiod is proven, and let proxies follow on their own
  kubectl meshca cert-manager renew --until sign-new

  # with a sealed copy of the CA that it replaces, which 'restore -f' reads
  kubectl meshca cert-manager renew --seal-to age1... --identity key.txt --sealed-file before.age

  # another root behind cert-manager, without a failed request: take the Secret out of its
  # hands, replace the root in place, give the Secret back
  kubectl meshca cert-manager release
  kubectl meshca rotate --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --chain chain.pem
  kubectl meshca retire
  kubectl meshca cert-manager return`

// managedOptions are the flags of "cert-manager renew", "release" and "return".
type managedOptions struct {
	rotateOptions
	act rotation.Act
}

func newCertManagerCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert-manager",
		Short: "Renew the CA that cert-manager writes, or take its Secret over and give it back",
		Long: "Where cert-manager writes the CA Secret, an intermediate under the same root is renewed by\n" +
			"it, on demand and proven. A root is not: cert-manager would replace it at once, which\n" +
			"istiod refuses, and cuts over to when it restarts. For that the Secret is released as it\n" +
			"stands, its root replaced by 'kubectl meshca rotate', and the Secret returned.",
		Example: certManagerExample,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("unknown command %q", args[0]), "run 'kubectl meshca cert-manager --help'")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	const codes = "\n\nExit codes: 0 done%s, 2 refused or a gate is closed, 124 a gate did not\n" +
		"open in time (the mesh is safe), 1 it could not be done, 64 bad usage."
	add := func(act rotation.Act, short, long, example string) {
		o := managedOptions{act: act}
		until := " (or --until reached)"
		if act == rotation.Release { // one write, and no phase to stop after
			until = ""
		}
		child := &cobra.Command{Use: string(act), Short: short, Long: long + fmt.Sprintf(codes, until), Example: example, Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), c, streams) }}
		o.addFlags(child)
		cmd.AddCommand(child)
	}
	add(rotation.Renew, "Have cert-manager issue another intermediate now, and prove it on every istiod and proxy",
		"Sets the condition Issuing on the Certificate, as 'cmctl renew' does, waits for the Secret,\nhas every istiod prove by its own answer that it signs with what was issued, shows what it\nlogged of it, and waits until every proxy has a certificate of it. Refused where the root\nwould change with it, or where that cannot be known.",
		"  kubectl meshca cert-manager renew --dry-run\n  kubectl meshca cert-manager renew --until sign-new --yes")
	add(rotation.Release, "Take the CA Secret out of cert-manager's hands as it stands",
		"Has the Certificate write to a Secret of its own, waits until cert-manager has followed, and\ntakes its marks off the CA Secret. Type and contents stay as they are, and it is there\nthroughout: no istiod sees a change. 'kubectl meshca rotate' then replaces the root in place.",
		"  kubectl meshca cert-manager release --dry-run\n  kubectl meshca cert-manager release --yes")
	add(rotation.Return, "Give the CA Secret back to cert-manager",
		"Has the Certificate write the CA Secret again: another intermediate, under the root that the\nmesh trusts by now. Refused unless its issuer brings that very root.",
		"  kubectl meshca cert-manager return --dry-run\n  kubectl meshca cert-manager return --yes")
	return cmd
}

func (o *managedOptions) addFlags(cmd *cobra.Command) {
	o.meshFlags.addFlags(cmd.Flags())
	flags := cmd.Flags()
	waitFlag(flags, &o.timeout, "the longest renewal and 10m")
	flags.StringArrayVar(&o.accept, "accept", nil, "namespace/name=reason: let this object stay unknown (never a failure that was seen)")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask before the first change")
	dryRunFlag(cmd, &o.dryRun, "none; client: say what would be done; server: send the first change to the API server too, which keeps nothing")
	flags.StringVarP(&o.output, "output", "o", "table", "table, or json: one Event a line")
	flags.BoolVar(&o.noCSRProof, "no-csr-proof", false, "do not ask istiods to sign a throw-away request: the chain they serve is the evidence then")
	completions(cmd, "output", "table", "json")
	if o.act == rotation.Release {
		return
	}
	o.addSealFlags(cmd, "the CA as it is before the first change")
	o.addTrialFlag(cmd)
	flags.DurationVar(&o.soak, "soak", 0, "how long a gate must have been open before it counts")
	flags.DurationVar(&o.baseline, "traffic-baseline", 10*time.Second, "how long traffic is counted before the first change, so that failures that rise close a gate; 0 leaves it out")
	flags.StringVar(&o.until, "until", "", "sign-new: stop when every istiod is proven")
	completions(cmd, "until", string(rotation.SignNew))
}

func (o *managedOptions) validate() error {
	if err := errors.Join(o.meshFlags.validate(), validDryRun(o.dryRun)); err != nil {
		return err
	}
	switch {
	case o.soak < 0 || o.baseline < 0:
		return usage(fmt.Errorf("--soak %s and --traffic-baseline %s may not be negative", o.soak, o.baseline), "0 leaves the wait out")
	case o.until != "" && o.until != string(rotation.SignNew):
		return usage(fmt.Errorf("unknown phase %q", o.until), "use sign-new, or leave --until out")
	case o.output != "table" && o.output != "json":
		return usage(fmt.Errorf("unknown output format %q", o.output), "use table or json")
	}
	if err := o.validateSeal(); err != nil {
		return err
	}
	_, err := o.accepted()
	return err
}

func (o *managedOptions) run(ctx context.Context, c *cluster, streams genericiooptions.IOStreams) error {
	if err := o.validate(); err != nil {
		return err
	}
	if o.dryRun == "none" {
		if err := o.asked(streams); err != nil {
			return err
		}
	}
	accept, err := o.accepted()
	if err != nil {
		return err
	}
	observer, err := o.observer(c, false)
	if err != nil {
		return err
	}
	defer observer.leave(ctx, streams)
	s, err := observer.whole(ctx)
	if err != nil {
		return err
	}
	m := rotation.NewManaged(s, o.act, !o.noCSRProof, accept)
	if len(s.ControlPlanes) > 0 {
		namespace, err := homeOf(s)
		if err != nil {
			return err
		}
		journal, err := rotation.ReadStaged(ctx, observer.collector.Kube, namespace)
		if err != nil {
			return explain(err)
		}
		m.Under(journal)
	}
	printer := c.printer(streams, o.output)
	to := streams.ErrOut
	if o.dryRun != "none" || len(m.Refusals) > 0 {
		to = streams.Out
	}
	if err := printer.managed(to, m); err != nil {
		return failed(fmt.Errorf("writing the plan: %w", err), "")
	}
	if len(m.Refusals) > 0 {
		first := m.Refusals[0]
		return found(fmt.Errorf("refused: %s: %s", first.Object, first.Why), first.Hint)
	}
	dynamic, err := c.dynamic()
	if err != nil {
		return err
	}
	certificates := rotation.CertificatesOf(dynamic, m.Namespace)
	switch o.dryRun {
	case "server":
		if err := m.DryRun(ctx, certificates, time.Now()); err != nil {
			return explain(err)
		}
		fmt.Fprintln(streams.ErrOut, "the API server would take the first change (server dry run)")
		return nil
	case "client":
		return nil
	}
	seal, err := o.sealed(ctx, m, streams)
	if err != nil {
		return err
	}
	if err := o.confirm(ctx, streams, &rotation.Plan{}, s.Cluster); err != nil {
		return err
	}
	observer.prober.CSR = !o.noCSRProof
	engine := o.engine(observer, &rotation.Plan{Cost: rotation.Cost{LongestWait: m.LongestWait}}, wallClock{}, accept, printer.event)
	if seal != nil {
		engine.Seal = func(old rotation.SecretCopy) (string, error) {
			raw, err := rotation.Backup{TakenAt: s.TakenAt, Cluster: s.Cluster, Secrets: []rotation.SecretCopy{old}}.Marshal()
			if err != nil {
				return "", err
			}
			return seal.file, pki.WriteSealed(seal.file, raw, seal.recipients, seal.trial)
		}
	}
	outlivesReaders()
	err = engine.Manage(ctx, m, certificates, func(ctx context.Context) (*rotation.Managed, error) {
		s, err := observer.whole(ctx)
		if err != nil {
			return nil, err
		}
		return rotation.NewManaged(s, o.act, !o.noCSRProof, accept), nil
	})
	printer.end()
	return managedOutcome(err)
}

// sealed is where the CA goes that cert-manager writes over, nil where nothing keeps it:
// that it is replaced is what cert-manager is there for, so that a copy is an offer.
func (o *managedOptions) sealed(ctx context.Context, m *rotation.Managed, streams genericiooptions.IOStreams) (*sealing, error) {
	if m.Act == rotation.Release {
		return nil, nil // the Secret stays as it is
	}
	switch {
	case len(o.sealTo) == 0 && m.Begun():
		return nil, nil // there is nothing left to keep, or nobody can tell
	case len(o.sealTo) == 0:
		fmt.Fprintf(streams.ErrOut, "note: cert-manager writes over this CA's key, and no copy is kept: --seal-to and --sealed-file keep one, for 'kubectl meshca restore'\n")
		return nil, nil
	case m.Begun() && exists(o.sealedFile): // the same command goes on
		fmt.Fprintf(streams.ErrOut, "note: a renewal is under way already: %s stays as it is, and nothing more is sealed\n", plain(o.sealedFile))
		return nil, nil
	}
	seal, err := o.sealing(ctx, &input{stdin: streams.In}, streams)
	if err != nil {
		return nil, err
	}
	return seal, o.acknowledge(ctx, seal, streams)
}

// managedOutcome gives the end its exit code and hint.
func managedOutcome(err error) error {
	var gate *rotation.GateError
	var stop signalled
	switch {
	case errors.As(err, &stop):
		return &Failure{Err: err, Code: stop.code(), Hint: "the mesh is safe as it stands; run the same command again: it goes on from there"}
	case errors.Is(err, rotation.ErrOtherRoot):
		return found(err, "no istiod may restart until it is mended: put the issuer's old root back and renew, or 'kubectl meshca cert-manager release' and 'kubectl meshca restore'")
	case errors.Is(err, rotation.ErrNotIssued):
		return found(err, "the mesh goes on with what it has; 'kubectl describe certificate' tells why")
	case errors.As(err, &gate) && gate.TimedOut:
		return &Failure{Err: err, Code: ExitTimeout, Hint: "the mesh is safe as it stands; mend what is named and run the same command again"}
	case errors.Is(err, rotation.ErrAway):
		return &Failure{Err: err, Code: ExitTimeout, Hint: "the mesh is safe as it stands; run the same command again when the API server answers"}
	case errors.Is(err, rotation.ErrHeld): // whose Lease is not taken over here
		return found(err, "wait until it ends; a dead holder's lease runs out within a minute")
	}
	return outcome(err)
}

// managed says what will be done about a CA that cert-manager writes.
func (p *eventPrinter) managed(w io.Writer, m *rotation.Managed) error {
	if p.json && w == p.out { // otherwise the engine says it
		p.event(rotation.Event{Kind: rotation.EventPlan, Message: m.Summary(), Managed: m})
		return nil
	}
	m = p.cluster.carryManaged(m)
	var rows [][]string
	row := func(name, value string) { rows = append(rows, []string{name, value}) }
	row("secret", m.Namespace+"/"+m.Secret)
	if m.Certificate != "" {
		row("certificate", m.Namespace+"/"+m.Certificate+" by "+m.Issuer)
	}
	if m.Signer.Subject != "" {
		row("signer", m.Signer.Subject+"  "+m.Signer.Fingerprint.Short()+"  until "+stamp(m.Signer.NotAfter))
		row("root", m.Root.Subject+"  "+m.Root.Fingerprint.Short()+"  until "+stamp(m.Root.NotAfter))
	}
	for i, step := range m.Steps {
		row(fmt.Sprintf("%d.", i+1), step)
	}
	return printRows(w, append(rows, remarks(m.Warnings, m.Refusals)...))
}
