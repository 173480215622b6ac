package plugin_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/plugin"
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
