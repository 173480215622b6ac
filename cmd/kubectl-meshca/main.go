// kubectl-meshca is the kubectl plugin behind "kubectl meshca".
package main

import (
	"os"

	"github.com/meshca/kubectl-meshca/internal/termguard"
	"github.com/meshca/kubectl-meshca/pkg/plugin"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func main() {
	termguard.Restore()
	collectLater()
	os.Exit(plugin.Main(plugin.Args(os.Args), genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}))
}
