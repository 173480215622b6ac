package plugin

import (
	"context"

	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// WizardOnDemo shows the wizard on a built-in mesh.
func WizardOnDemo(ctx context.Context, d *rehearsal.Demonstration, streams genericiooptions.IOStreams, lines bool) error {
	return runDemoWizard(ctx, d, streams, lines)
}
