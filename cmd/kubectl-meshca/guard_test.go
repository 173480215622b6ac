//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// TestTerminalIsNotAsked runs commands on a terminal that answers nothing, as many
// do: not a byte may come before the output, and no pause. Bubble Tea's init asks
// for the background's colour and waits five seconds for the answer
// (bubbletea v1.3.10 tea_init.go:7).
func TestTerminalIsNotAsked(t *testing.T) {
	program := filepath.Join(t.TempDir(), "kubectl-meshca")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	for _, term := range []string{"xterm-256color", "vt100", "linux"} {
		t.Run(term, func(t *testing.T) {
			cmd := exec.Command(program, "version")
			cmd.Env = append(os.Environ(), "TERM="+term)
			began := time.Now()
			terminal, err := pty.Start(cmd)
			if err != nil {
				t.Fatal(err)
			}
			defer terminal.Close()
			var out bytes.Buffer
			_, _ = out.ReadFrom(terminal) // ends with EIO when the program does
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("it took %s: something waited for the terminal", took)
			}
			if text := out.String(); strings.Contains(text, "\x1b") || !strings.HasPrefix(text, "kubectl-meshca") {
				t.Errorf("the terminal got %q", text)
			}
		})
	}
}
