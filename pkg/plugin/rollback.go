package plugin

import (
	"errors"
	"fmt"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const rollbackExample = `  # back to the CA of before, phase by phase, each proven on every live proxy
  kubectl meshca rollback

  # only back to where both roots are trusted and the old CA signs
  kubectl meshca rollback --to trust-new`

func newRollbackCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	o := rotateOptions{back: true, reason: string(rotation.Expiring)}
	var compromised, ending bool
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Take a rotation back, phase by phase, gated like going forward",
		Long: "Goes back from wherever a rotation stands, also from its end, until the old CA is the\n" +
			"mesh's alone again: the staged Secret keeps it until 'retire'. Each phase writes one\n" +
			"thing and waits until every istiod, ConfigMap, webhook and live proxy proves it. Stopped\n" +
			"or killed, it goes on when it is run again; 'rotate' turns it forward again.\n\n" +
			"Exit codes: 0 back (or --to reached), 2 nothing to go back from, or a gate is closed,\n" +
			"124 a gate did not open in time (the mesh is safe), 1 it could not be done, 64 bad usage.",
		Example: rollbackExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.allowCompromised, o.allowEnding = compromised, ending
			return o.run(cmd, c, streams)
		},
	}
	o.meshFlags.addFlags(cmd.Flags())
	o.proofFlags(cmd)
	o.runFlags(cmd, "to")
	cmd.Flags().BoolVar(&compromised, "to-compromised", false, "go back although the rotation was begun because the old CA is compromised")
	cmd.Flags().BoolVar(&ending, "to-ending", false, "go back although the old CA ends soon, or on the way: the mesh must leave it again before")
	return cmd
}

// mayGoBack refuses a way back that nothing is known of, or that leads to a key that
// somebody else has.
func (o *rotateOptions) mayGoBack(p prepared) error {
	switch {
	case p.staged == nil:
		return found(fmt.Errorf("%w: no rotation's old CA is kept in the cluster", rotation.ErrNothing), "a sealed copy is written back with 'kubectl meshca restore'")
	case p.staged.Reason == rotation.Compromised && !o.allowCompromised:
		return found(errors.New("the old CA is compromised: this rotation was begun for that reason"), "go forward with 'kubectl meshca rotate', or say --to-compromised")
	}
	return nil
}
