package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const statusExample = `  # where does the rotation stand, who runs it, who is missing and why?
  kubectl meshca status

  # what changes, until nothing is under way any more
  kubectl meshca status --watch

  # every rotation that this mesh remembers
  kubectl meshca status --all -o wide`

type statusOptions struct {
	meshFlags
	watch    bool
	interval time.Duration
	all      bool
	output   string
}

func newStatusCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say where a rotation stands, who runs it, who is missing, and what comes next",
		Long: "Reads journal, Lease and staged Secret, and judges the mesh as the gate of that phase\n" +
			"would: who has not followed yet and why, by when leaves renew, whether one can go back.\n" +
			"It changes nothing and asks no istiod to sign.\n\n" +
			"Exit codes: 0 nothing is under way, or it is done, 2 a rotation runs or is unfinished,\n" +
			"1 it could not be done, or not told, 64 bad usage.",
		Example: statusExample,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), c, streams) },
	}
	o.addFlags(cmd.Flags())
	outputFlag(cmd, &o.output)
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "look again and again, and print what has changed, until nothing is under way")
	cmd.Flags().DurationVar(&o.interval, "interval", 5*time.Second, "with --watch: pause between two looks")
	cmd.Flags().BoolVar(&o.all, "all", false, "every rotation that istiod's namespace remembers")
	return cmd
}

func (o *statusOptions) run(ctx context.Context, c *cluster, streams genericiooptions.IOStreams) error {
	if err := errors.Join(o.validate(), validOutput(o.output)); err != nil {
		return err
	}
	switch {
	case o.interval <= 0:
		return usage(fmt.Errorf("--interval %s must be positive", o.interval), "5s is the default")
	case o.watch && o.all:
		return usage(errors.New("--watch and --all exclude each other"), "what is past does not change")
	case o.all:
		return o.history(ctx, c, streams)
	}
	last, missed := "", ""
	for {
		r, err := o.look(ctx, c)
		switch {
		case err != nil && (last == "" || context.Cause(ctx) != nil):
			return err
		case err != nil: // whoever watches has seen it before: an API server may be away for a while
			if text := err.Error(); text != missed {
				missed = text
				fmt.Fprintln(streams.ErrOut, "warning: this look has failed, and is tried again: "+plain(text))
			}
		case o.watch && missed != "":
			missed = ""
			fmt.Fprintln(streams.ErrOut, "note: it is seen again")
		}
		if err == nil {
			// What moves with the clock alone is no change.
			if text := r.essence(); text != last {
				last = text
				if err := o.print(streams.Out, r); err != nil {
					return err
				}
			}
			if !o.watch || !r.underWay() && r.State != stateUnknown {
				return r.failure()
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(o.interval):
		}
	}
}

// print writes one look; those of a watch are one document each.
func (o *statusOptions) print(w io.Writer, r *statusReport) error {
	if !o.watch {
		return printResult(w, o.output, r)
	}
	var err error
	switch o.output {
	case "json":
		err = writeJSON(w, r, "")
	case "yaml":
		var raw []byte
		if raw, err = yamlOf(r); err == nil {
			_, err = fmt.Fprintf(w, "---\n%s", raw)
		}
	default:
		err = printResult(w, o.output, r)
		if err == nil && o.output != "name" {
			_, err = fmt.Fprintln(w)
		}
	}
	if err != nil {
		return failed(fmt.Errorf("writing the result: %w", err), "")
	}
	return nil
}

// look reads journal, Lease and staged Secret, and the mesh, each with an error of
// its own: who may not read Secrets is still told the phase.
func (o *statusOptions) look(ctx context.Context, c *cluster) (*statusReport, error) {
	observer, err := o.observer(c, false)
	if err != nil {
		return nil, err
	}
	rotate := rotateOptions{meshFlags: o.meshFlags}
	p, err := rotate.prepare(ctx, observer, newCA{})
	s := p.snapshot
	if s == nil {
		return nil, err
	}
	namespace, lost := homeOf(s)
	if lost != nil {
		return nil, lost
	}
	seen := standing{snapshot: s, namespace: namespace, plan: p.plan, staged: p.staged, now: clusterNow(s)}
	if code, _ := codeOf(err); err != nil && code != ExitUsage { // usage: no rotation is under way
		seen.stagedError = err.Error()
		seen.missed(err, "get secrets")
	}
	kube := observer.collector.Kube
	if seen.lease, err = rotation.ReadLease(ctx, kube, namespace, seen.now); err != nil {
		seen.leaseError = err.Error()
		seen.missed(err, "get leases")
	}
	seen.journals, err = rotation.Journals(ctx, kube, namespace)
	seen.journals = slices.DeleteFunc(seen.journals, func(j rotation.Journal) bool { return j.Act != "" }) // no rotation's
	if err != nil {
		seen.journalError = err.Error()
		seen.missed(err, "list configmaps")
	}
	if p.plan != nil {
		j := seen.journal()
		back := j != nil && j.Back
		switch lost := len(p.plan.Course()) == 0 && len(p.plan.Refusals) > 0; {
		case lost && back: // nothing is laid out that the CA Secret could be held against
		case lost: // what it holds is no word on who wrote it
			seen.refusal = &p.plan.Refusals[0]
		case p.plan.Standing != nil && !back: // found out for the plan already
			seen.at = *p.plan.Standing
		default:
			if seen.at, err = p.plan.Stand(ctx, kube, p.staged, back); err != nil {
				seen.placeError = err.Error()
			}
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	r := newStatusReport(seen)
	r.Back.Why = c.carry(r.Back.Why)
	if r.Next = c.carry(r.Next); strings.HasPrefix(r.Next, "kubectl ") { // a command, and nothing else
		r.Next = c.again(r.Next)
	}
	return r, nil
}

// missed notes which permission was missing, where one was.
func (s *standing) missed(err error, permission string) {
	if apierrors.IsForbidden(err) {
		s.refused = append(s.refused, permission)
	}
}

func (o *statusOptions) history(ctx context.Context, c *cluster, streams genericiooptions.IOStreams) error {
	observer, err := o.observer(c, false)
	if err != nil {
		return err
	}
	s, err := observer.planes(ctx)
	if err != nil {
		return err
	}
	r := &historyReport{APIVersion: mesh.APIVersion, Kind: "RotationList", Items: []rotation.Journal{}}
	for _, namespace := range namespacesOf(s) {
		journals, err := rotation.Journals(ctx, observer.collector.Kube, namespace)
		if err != nil && journals == nil {
			return explain(err)
		}
		if err != nil {
			fmt.Fprintln(streams.ErrOut, "warning: "+plain(err.Error()))
		}
		r.Items = append(r.Items, journals...)
	}
	return printResult(streams.Out, o.output, r)
}
