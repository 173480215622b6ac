//go:build unix

package plugin

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/creack/pty"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// TestLiveLineFits: a gate's line that is drawn over stays in one row of the terminal,
// whatever that has been made.
func TestLiveLineFits(t *testing.T) {
	t.Setenv("TERM", "xterm")
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	p := &eventPrinter{out: &bytes.Buffer{}, err: terminal, live: canDraw(terminal)}
	wide := rotation.Event{Kind: rotation.EventGate, Phase: "trust-new", Message: strings.Repeat("proxy 支付/ledger: not yet; ", 20)}
	for _, width := range []int{40, 80, 200} {
		if err := pty.Setsize(terminal, &pty.Winsize{Rows: 24, Cols: uint16(width)}); err != nil {
			t.Fatal(err)
		}
		p.event(wide)
		_, line, _ := strings.Cut(read(t, master), "\r\x1b[K")
		if at := ansi.StringWidth(line); at >= width || at < width-3 || !strings.HasSuffix(line, "…") {
			t.Errorf("at %d columns the line has %d: %q", width, at, line)
		}
	}
	terminal.Close()
}

// read is what has been written to a terminal.
func read(t *testing.T, master *os.File) string {
	t.Helper()
	if err := master.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := master.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}
