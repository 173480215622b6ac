package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation/restart"
	"github.com/meshca/kubectl-meshca/pkg/tui"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const wizardExample = `  # on a terminal: check, audit, rotate, verify and confirm, step by step
  kubectl meshca wizard

  # the same as plain lines, for a screen reader
  kubectl meshca wizard --plain`

// wizardCommands are what does without a terminal what the wizard does on one.
const wizardCommands = `  kubectl meshca check
  kubectl meshca versions
  kubectl meshca plan --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --chain chain.pem
  kubectl meshca rotate --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --chain chain.pem \
    --seal-to age1... --identity key.txt --sealed-file before.age --yes
  kubectl meshca status --watch
  kubectl meshca rollback --yes
  kubectl meshca verify
  kubectl meshca envoy
  kubectl meshca report --out rotation.html`

func newWizardCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	var o rotateOptions
	var lines bool
	cmd := &cobra.Command{
		Use:   "wizard",
		Short: "Be guided through check, versions, rotation, verification and load confirmation",
		Long: "Guides through five steps on a terminal: check, versions, transition, verify, envoy.\n" +
			"Nothing is changed before the cluster's name has been typed. It can be left at any\n" +
			"moment, and finds what is under way when it is started again.\n\n" +
			"Exit codes: 0 left in order, 2 a rotation was begun and is not finished, 130 left by\n" +
			"Ctrl-C, 129 the terminal was lost, 64 there is no terminal, 1 it could not be done.",
		Example: wizardExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !hasTerminal(streams, lines) {
				fmt.Fprintln(streams.ErrOut, "without a terminal, these commands do the same:\n"+c.listed(wizardCommands))
				hint := "use the commands above"
				if hasTerminal(streams, true) {
					hint += ", or --plain, which needs no screen"
				}
				return usage(errors.New("the wizard needs a terminal"), hint)
			}
			if err := o.meshFlags.validate(); err != nil {
				return err
			}
			return c.runWizard(cmd.Context(), newWizardBackend(cmd, c, o), streams, lines)
		},
	}
	o.meshFlags.addFlags(cmd.Flags())
	o.proofFlags(cmd)
	cmd.Flags().BoolVar(&lines, "plain", false, "plain lines and questions instead of a screen: for screen readers and logs")
	return cmd
}

func newWizardBackend(cmd *cobra.Command, c *cluster, o rotateOptions) *wizardBackend {
	o.baseline, o.atOnce = defaultBaseline, restart.DefaultAtOnce
	where := c.where()
	b := &wizardBackend{connect: func() (*observer, error) { return o.observer(c, false) }, clock: wallClock{}, options: o, cluster: where.Context, named: c}
	if b.cluster == "" {
		b.cluster = where.Server
	}
	b.flags = given(cmd.Flags())
	return b
}

// given are the flags of a command line, for another to repeat. Whatever lets
// somebody in is left out: a printed command is kept in files and tickets.
func given(flags *pflag.FlagSet) []string {
	return givenOf(flags, func(f *pflag.Flag) bool {
		return !slices.Contains([]string{"plain", "v", "quiet", "color", "token", "password"}, f.Name)
	})
}

// givenOf are those of them that are wanted.
func givenOf(flags *pflag.FlagSet, wanted func(*pflag.Flag) bool) []string {
	var all []string
	flags.Visit(func(f *pflag.Flag) {
		if !wanted(f) {
			return
		}
		values := []string{f.Value.String()}
		if several, ok := f.Value.(pflag.SliceValue); ok {
			values = several.GetSlice()
		}
		for _, v := range values {
			all = append(all, "--"+f.Name+"="+quoted(v))
		}
	})
	return all
}

// defaultOptions are those of a command line that says nothing.
func defaultOptions() rotateOptions {
	return rotateOptions{meshFlags: meshFlags{concurrency: proxy.DefaultConcurrency, proxyTimeout: proxy.DefaultTimeout}, trustFileWait: defaultTrustFileWait}
}

// hasTerminal reports whether the wizard can be answered, and drawn where it is not
// of plain lines.
func hasTerminal(streams genericiooptions.IOStreams, lines bool) bool {
	return isTerminal(streams.In) && (lines || canDraw(streams.Out))
}

// onTerminal reports whether the bare command can show the wizard.
func onTerminal(streams genericiooptions.IOStreams) bool {
	return isTerminal(streams.In) && canDraw(streams.Out) && os.Getenv("CI") == ""
}

// runWizard keeps off the screen whoever else would write on it, and from the keys
// whoever else would read them.
func (c *cluster) runWizard(ctx context.Context, b tui.Backend, streams genericiooptions.IOStreams, lines bool) error {
	o := tui.Options{Backend: b, Now: time.Now, Color: c.color, Carry: c.carry}
	if !lines {
		if c.level > 0 && isTerminal(streams.ErrOut) {
			return usage(errors.New("-v writes over the wizard's screen"), "send standard error elsewhere (2>FILE), or use --plain")
		}
		defer c.warnings.hold()()
	}
	said, release := c.logIn(ctx, streams.ErrOut, !lines)
	defer release()
	o.Said = said
	return wizardOn(ctx, o, streams, lines)
}

func wizardOn(ctx context.Context, options tui.Options, streams genericiooptions.IOStreams, lines bool) error {
	options.In, options.Out = streams.In, streams.Out
	run := tui.Run
	if lines {
		run = tui.RunPlain
	}
	left, err := run(ctx, options)
	if left.Means != "" {
		fmt.Fprintln(streams.ErrOut, "stopped. "+plain(strings.TrimSpace(left.Means)))
	}
	if left.Resume != "" {
		fmt.Fprintln(streams.ErrOut, "go on with: "+plain(left.Resume))
	}
	if err != nil { // also of a screen that is lost while a rotation runs
		_, hint := codeOf(err)
		return failed(fmt.Errorf("the wizard: %w", err), cmp.Or(hint, "'kubectl meshca check' needs no terminal"))
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case left.Interrupted:
		return &Failure{Err: errors.New("stopped by interrupt"), Code: ExitInterrupted}
	case left.Unread != nil:
		_, hint := codeOf(left.Unread)
		return failed(left.Unread, hint)
	case left.Err != nil:
		_, hint := codeOf(left.Err)
		return found(left.Err, hint)
	}
	return nil
}
