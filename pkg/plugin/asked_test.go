//go:build unix

package plugin

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestInterruptedQuestion: Ctrl-C at a question ends the command, and is no yes. Who is
// asked for the last word before production changes, and wants none of it, presses that.
func TestInterruptedQuestion(t *testing.T) {
	const recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kug5fn8dqqxjtny"
	for name, question := range map[string]func(context.Context, genericiooptions.IOStreams) error{
		"whether to go on": func(ctx context.Context, streams genericiooptions.IOStreams) error {
			return (&rotateOptions{}).confirm(ctx, streams, &rotation.Plan{}, mesh.Cluster{})
		},
		"whether a copy can be opened": func(ctx context.Context, streams genericiooptions.IOStreams) error {
			return (&sealFlags{sealTo: []string{recipient}}).acknowledge(ctx, &sealing{}, streams)
		},
		"which secret is written back": func(ctx context.Context, streams genericiooptions.IOStreams) error {
			return (&restoreOptions{}).confirmed(ctx, streams, &restoreItem{Namespace: "istio-system", Name: "cacerts"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			master, terminal, err := pty.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer master.Close()
			defer terminal.Close()
			ctx, cancel := context.WithCancelCause(context.Background())
			asked, said := io.Pipe()
			ended := make(chan error, 1)
			go func() { ended <- question(ctx, genericiooptions.IOStreams{In: terminal, Out: said, ErrOut: said}) }()
			go func() {
				_, _ = asked.Read(make([]byte, 1))
				cancel(signalled{syscall.SIGINT})
				_, _ = io.Copy(io.Discard, asked)
			}()
			select {
			case err := <-ended:
				if err == nil {
					t.Error("it was taken for a yes")
				}
			case <-time.After(10 * time.Second):
				t.Error("it was not heard")
			}
			if !errors.As(context.Cause(ctx), new(signalled)) {
				t.Error("nothing was asked")
			}
			_, _ = io.WriteString(master, "\n") // whoever still reads
		})
	}
}

// TestQuestionNamesTheCluster: the last word before the first change is about a cluster,
// and that is named, as text of a kubeconfig that somebody else may have written.
func TestQuestionNamesTheCluster(t *testing.T) {
	for _, test := range []struct {
		where mesh.Cluster
		want  string
	}{
		{mesh.Cluster{Context: "prod", Server: "https://10.0.0.1:6443", Version: "v1.36.0"}, "Go on in prod (https://10.0.0.1:6443)? [y/N] "},
		{mesh.Cluster{Server: "https://10.96.0.1:443"}, "Go on in https://10.96.0.1:443? [y/N] "},
		{mesh.Cluster{Context: "pr\x1b[2Jod"}, "Go on in pr\ufffd[2Jod? [y/N] "},
		{mesh.Cluster{Version: "v1.36.0"}, "Go on? [y/N] "},
	} {
		master, terminal, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		if _, err := io.WriteString(master, "y\n"); err != nil {
			t.Fatal(err)
		}
		if err := (&rotateOptions{}).confirm(t.Context(), genericiooptions.IOStreams{In: terminal, Out: io.Discard, ErrOut: &said}, &rotation.Plan{}, test.where); err != nil {
			t.Error(err)
		}
		if said.String() != test.want {
			t.Errorf("it asks %q, not %q", said.String(), test.want)
		}
		_, _ = terminal.Close(), master.Close()
	}
}
