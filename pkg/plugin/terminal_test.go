//go:build unix

package plugin

import (
	"testing"

	"github.com/creack/pty"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestDumbTerminal: on a terminal that cannot be drawn on one is asked all the same, in
// plain lines.
func TestDumbTerminal(t *testing.T) {
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer terminal.Close()
	t.Setenv("CI", "")
	streams := genericiooptions.IOStreams{In: terminal, Out: terminal, ErrOut: terminal}
	for name, want := range map[string]bool{"dumb": false, "xterm": true} {
		t.Setenv("TERM", name)
		if !isTerminal(terminal) || !hasTerminal(streams, true) {
			t.Errorf("%s: nobody is asked", name)
		}
		if hasTerminal(streams, false) != want || onTerminal(streams) != want || newEventPrinter(streams, "table").live != want {
			t.Errorf("%s: drawn on is not %t", name, want)
		}
	}
}
