package plugin

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/meshca/kubectl-meshca/internal/prompt"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// isTerminal reports whether a stream is one that a person sits at, who can be asked.
func isTerminal(stream any) bool {
	_, is := prompt.Terminal(stream)
	return is
}

// canDraw reports whether a stream is a terminal on which a line can be drawn over; one
// that cannot (Emacs', under which screen readers are used too) still has somebody at it.
func canDraw(stream any) bool { return isTerminal(stream) && os.Getenv("TERM") != "dumb" }

// columns is the width of a terminal as it is now, 80 where it does not say.
func columns(stream any) int {
	if f, ok := stream.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(fmt.Errorf("unexpected argument %q", args[0]), fmt.Sprintf("run '%s --help'", cmd.CommandPath()))
	}
	return nil
}

// answer reads the line that somebody types to what was asked. It ends with the context:
// Ctrl-C is an answer too.
func answer(ctx context.Context, streams genericiooptions.IOStreams) (string, error) {
	line, err := prompt.Await(ctx, func() (string, error) { return readLine(streams.In) })
	if err != nil && ctx.Err() != nil {
		fmt.Fprintln(streams.ErrOut)
	}
	return line, err
}

// readLine reads what somebody has typed, and no byte more: the next question has
// the same input.
func readLine(in io.Reader) (string, error) {
	var line []byte
	for one := make([]byte, 1); ; {
		n, err := in.Read(one)
		switch {
		case n == 1 && one[0] == '\n', err == io.EOF && len(line) > 0:
			return strings.TrimSpace(string(line)), nil
		case err != nil:
			return "", err
		case n == 1:
			line = append(line, one[0])
		}
	}
}

// dryRunFlag adds --dry-run as kubectl has it: without a value it is client.
func dryRunFlag(cmd *cobra.Command, into *string, about string) {
	cmd.Flags().StringVar(into, "dry-run", "none", about)
	cmd.Flags().Lookup("dry-run").NoOptDefVal = "client"
	completions(cmd, "dry-run", "none", "client", "server")
}

func validDryRun(value string) error {
	if value != "none" && value != "client" && value != "server" {
		return usage(fmt.Errorf("--dry-run %q", value), "use none, client or server")
	}
	return nil
}

// completions are the values that a flag may have.
func completions(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is defined beside this call
	}
}
