package plugin_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/plugin"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"kubectl-meshca": func() {
			os.Exit(plugin.Main(os.Args[1:], genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}))
		},
		// mesh FAULT saves a snapshot of a rehearsed mesh, see saveMesh.
		"mesh": func() {
			if err := saveMesh(os.Args[1]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		},
		// wizard-on-demo NAME [--plain] is the wizard on a built-in mesh.
		"wizard-on-demo": func() { os.Exit(wizardOnDemo(os.Args[1:])) },
		// exits CODE COMMAND... runs the command line and asserts its exit code.
		"exits": func() {
			code := plugin.Main(os.Args[2:], genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr})
			if want := os.Args[1]; want != strconv.Itoa(code) {
				os.Exit(99)
			}
		},
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

func wizardOnDemo(args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	speed := rehearsal.DemoSpeed(args[0])
	d, err := rehearsal.Demo(ctx, rehearsal.Scaled{Base: wall{}, Start: time.Now(), Speed: speed}, args[0])
	if err == nil {
		err = plugin.WizardOnDemo(ctx, d, genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}, len(args) > 1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
