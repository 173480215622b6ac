package plugin

import (
	"context"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// Rehearse runs one command line against a mesh in memory, as Main would.
func Rehearse(ctx context.Context, kube kubernetes.Interface, dynamic dynamic.Interface, dialer proxy.Dialer, args []string, streams genericiooptions.IOStreams) int {
	c := newCluster(streams)
	c.rehearsed = &clients{kube, dynamic, dialer}
	root := newRoot(c, streams)
	return execute(ctx, root, args, streams)
}

// MainIn is Main in a context, without its signals.
func MainIn(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	return execute(ctx, NewRoot(streams), args, streams)
}

func execute(ctx context.Context, root *cobra.Command, args []string, streams genericiooptions.IOStreams) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	code, hint := codeOf(err)
	if err != nil {
		tell(streams, err.Error(), hint)
	}
	return code
}
