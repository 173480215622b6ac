package plugin

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const retireExample = `  # the rotation is done, and nobody will go back: destroy the old CA's copy in the cluster
  kubectl meshca retire

  # what would be destroyed
  kubectl meshca retire --dry-run

  # in a script: name the rotation instead of typing it, or take whichever is done
  kubectl meshca retire --confirm 3f1a9c22b0
  kubectl meshca retire --yes`

// unfinished is what to do about a rotation that has not ended.
const unfinished = "finish it with 'kubectl meshca rotate', or end it with 'kubectl meshca rollback'"

func newRetireCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	var flags meshFlags
	var confirm, dryRun string
	var yes bool
	cmd := &cobra.Command{
		Use:   "retire",
		Short: "Destroy the copy of the old CA that a finished rotation has kept",
		Long: "Deletes the Secret meshca-staged, which holds the old and the new CA as they were. Only\n" +
			"of a rotation whose journal says that it is done; the journal stays. It asks for the\n" +
			"rotation's ID, typed or by --confirm; --yes asks nothing, and destroys no other either.\n\n" +
			"Exit codes: 0 destroyed, or nothing there, 2 not done or not confirmed, 1 it could not\n" +
			"be done, 64 bad usage.",
		Example: retireExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(flags.validate(), validDryRun(dryRun)); err != nil {
				return err
			}
			observer, err := flags.observer(c, false)
			if err != nil {
				return err
			}
			s, err := observer.whole(cmd.Context())
			if err != nil {
				return err
			}
			namespace, err := homeOf(s)
			if err != nil {
				return err
			}
			journal, err := rotation.ReadStaged(cmd.Context(), observer.collector.Kube, namespace)
			switch {
			case err != nil:
				return explain(err)
			case journal == nil:
				fmt.Fprintln(streams.Out, "nothing is kept: there is no secret "+namespace+"/meshca-staged")
				return nil
			case !journal.Over():
				return found(fmt.Errorf("rotation %s is in phase %s, not done: its copy of the old CA is the way back", journal.ID, journal.Phase), unfinished)
			}
			held, err := rotation.ReadLease(cmd.Context(), observer.collector.Kube, namespace, clusterNow(s))
			if err != nil {
				return explain(err)
			}
			if held != nil && held.Alive {
				return found(fmt.Errorf("a rotation is under way: its lease is held by %s", plain(held.String())), "wait until it has ended: 'kubectl meshca status --watch'")
			}
			if dryRun != "none" {
				if dryRun == "server" {
					if err := rotation.RetireDryRun(cmd.Context(), observer.collector.Kube, namespace, journal.ID); err != nil {
						return explain(err)
					}
				}
				fmt.Fprintf(streams.Out, "would be destroyed: secret %s/meshca-staged of rotation %s, the kept copy of %s (%s dry run)\n", namespace, journal.ID, plain(journal.OldSigner.Subject), dryRun)
				return nil
			}
			if yes && confirm == "" {
				confirm = journal.ID
			}
			if confirm == "" && isTerminal(streams.In) {
				fmt.Fprintf(streams.ErrOut, "This destroys the kept copy of the old CA's key in the cluster: %s.\nType the rotation's ID, %s: ", plain(journal.OldSigner.Subject), journal.ID)
				if confirm, err = answer(cmd.Context(), streams); err != nil {
					return found(errors.New("not confirmed: nothing was destroyed"), "")
				}
			}
			if strings.TrimSpace(confirm) != journal.ID {
				return found(fmt.Errorf("not confirmed: nothing was destroyed (the rotation's ID is %s)", journal.ID), "type it, give it with --confirm, or say --yes")
			}
			switch err := rotation.Retire(cmd.Context(), observer.collector.Kube, holder(), func() time.Time { return clusterNow(s) }, namespace, journal.ID); {
			case errors.Is(err, rotation.ErrHeld): // who has begun since it was looked
				return found(err, "wait until it has ended: 'kubectl meshca status --watch'")
			case errors.Is(err, rotation.ErrOpen):
				return found(err, unfinished)
			case err != nil:
				return explain(err)
			}
			fmt.Fprintf(streams.Out, "destroyed: secret %s/meshca-staged of rotation %s; its journal stays\n", namespace, journal.ID)
			return nil
		},
	}
	flags.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&confirm, "confirm", "", "the rotation's ID")
	dryRunFlag(cmd, &dryRun, "none; client: say what would be destroyed; server: ask the API server too, which keeps it")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for it")
	return cmd
}
