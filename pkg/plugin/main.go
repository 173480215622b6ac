package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// signalled is why a context ended: the user, or whoever manages the process.
type signalled struct{ os.Signal }

func (s signalled) Error() string { return "stopped by " + s.String() }

func (s signalled) code() int {
	switch s.Signal {
	case syscall.SIGTERM:
		return ExitTerminated
	case syscall.SIGHUP:
		return ExitHungUp
	}
	return ExitInterrupted
}

// Main runs one command line and returns its exit code. The first interrupt ends
// the work in order; the second ends the process by the signal's default.
func Main(args []string, streams genericiooptions.IOStreams) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // by nohup, or a shell for its background: Notify would take that back
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(signalled{s})
		case <-ctx.Done():
		}
	}()

	cluster := newCluster(streams)
	root := newRoot(cluster, streams)
	root.SetArgs(args)
	err := muteLog()
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	code, hint := codeOf(err)
	if s, ok := errors.AsType[signalled](context.Cause(ctx)); ok && err != nil {
		if _, told := errors.AsType[signalled](err); !told {
			hint = "" // it is about what the signal broke off
		}
		code, err = s.code(), s
	}
	if err != nil {
		tell(streams, cluster.carry(err.Error()), cluster.carry(hint))
	}
	return code
}

// tell says why a command has failed, and what ends that. Both may quote the cluster: a
// hint names who holds a Lease, as anybody may have written it.
func tell(streams genericiooptions.IOStreams, text, hint string) {
	fmt.Fprintln(streams.ErrOut, "error: "+plain(text))
	if hint != "" {
		fmt.Fprintln(streams.ErrOut, "hint: "+plain(hint))
	}
}

// outlivesReaders has a run go on though nobody reads what it says any more: Go's runtime
// ends a process that writes to a closed pipe on its standard output or error (os/signal),
// and a phase that ends so leaves the Lease held and its last word unwritten.
func outlivesReaders() { signal.Ignore(syscall.SIGPIPE) }

// NewRoot is the whole command tree over the streams given.
func NewRoot(streams genericiooptions.IOStreams) *cobra.Command {
	return newRoot(newCluster(streams), streams)
}

func newRoot(cluster *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-meshca",
		Short: "Prove and rotate the root CA of an Istio mesh",
		Long: "kubectl meshca replaces the root CA of an Istio mesh without a failed request, and\n" +
			"proves it from every live proxy. It says what state the trust of the mesh is in, plans,\n" +
			"rotates phase by phase, and never takes silence for a yes.",
		Example:       "  kubectl meshca check\n  kubectl meshca verify --csr-proof\n  kubectl meshca plan --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --chain chain.pem",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl meshca"},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("unknown command %q", args[0]), nearest(cmd, args[0])+"run 'kubectl meshca --help'")
			}
			return nil
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			cluster.running = cmd
			warnFormer(cmd, streams)
			return errors.Join(onlyOfRows(cmd), onlyOfCluster(cmd), cluster.validate(), cluster.apply(streams.ErrOut))
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if onTerminal(streams) {
				return cluster.runWizard(cmd.Context(), newWizardBackend(cmd, cluster, defaultOptions()), streams, false)
			}
			return cmd.Help()
		},
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(err, fmt.Sprintf("run '%s --help'", cmd.CommandPath()))
	})
	cluster.addFlags(root.PersistentFlags())
	root.AddCommand(
		newCheckCommand(cluster, streams), newVersionsCommand(cluster, streams), newVerifyCommand(cluster, streams), newEnvoyCommand(cluster, streams),
		newCertsCommand(cluster, streams), newSnapshotCommand(cluster, streams), newReportCommand(cluster, streams),
		newPlanCommand(cluster, streams), newRehearseCommand(cluster, streams), newRotateCommand(cluster, streams), newRollbackCommand(cluster, streams),
		newStatusCommand(cluster, streams), newRetireCommand(cluster, streams), newBackupCommand(cluster, streams), newRestoreCommand(cluster, streams),
		newCertManagerCommand(cluster, streams), newCACommand(streams),
		newWizardCommand(cluster, streams), newDemoCommand(&cluster.verbosity, streams), newRBACCommand(streams), newCompletionCommand(streams), newVersionCommand(streams),
	)
	completions(root, "color", colors()...)
	cluster.completeLive(root)
	tellLists(root)
	strictHelp(root)
	return root
}
