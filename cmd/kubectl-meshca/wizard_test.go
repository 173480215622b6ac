//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// operator sits at a terminal: reads what is on it, and types.
type operator struct {
	t        *testing.T
	cmd      *exec.Cmd
	terminal *os.File
	mu       sync.Mutex
	seen     bytes.Buffer
	read     int
	left     chan struct{}
}

func sit(t *testing.T, program string, args ...string) *operator {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "CI=")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	o := &operator{t: t, cmd: cmd, terminal: terminal, left: make(chan struct{})}
	go func() {
		defer close(o.left)
		chunk := make([]byte, 4096)
		for {
			n, err := terminal.Read(chunk)
			o.mu.Lock()
			o.seen.Write(chunk[:n])
			o.mu.Unlock()
			if err != nil { // EIO when the program has ended
				return
			}
		}
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = terminal.Close() })
	return o
}

// bare takes the terminal's own out of a text, and the line ends that wrapping made.
func bare(text string) string {
	return strings.Join(strings.Fields(regexp.MustCompile("\x1b\\[[0-9;?]*[a-zA-Z]|\x1b[=>]").ReplaceAllString(text, " ")), " ")
}

func (o *operator) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen.String()
}

// sees waits for a text that came after the one before, and types an answer.
func (o *operator) sees(want, answer string) {
	o.t.Helper()
	for patience := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		text := o.text()
		if strings.Contains(bare(text[o.read:]), want) {
			rest := text[o.read:]
			o.read += sort.Search(len(rest), func(n int) bool { return strings.Contains(bare(rest[:n]), want) })
			break
		}
		if time.Now().After(patience) {
			o.t.Fatalf("%q never came:\n%s", want, bare(text))
		}
	}
	if _, err := o.terminal.WriteString(answer); err != nil {
		o.t.Fatal(err)
	}
}

// ends waits for the program's end, and asserts its exit code.
func (o *operator) ends(code int) {
	o.t.Helper()
	select {
	case <-o.left:
	case <-time.After(time.Minute):
		o.t.Fatalf("it did not end:\n%s", bare(o.text()))
	}
	_ = o.cmd.Wait()
	if got := o.cmd.ProcessState.ExitCode(); got != code {
		o.t.Errorf("exit code %d, not %d:\n%s", got, code, bare(o.text()))
	}
}

// TestWizardOnATerminal goes through a pseudo-terminal what a person would: a
// passphrase that is not shown, a closed gate, a pause, the way back; Ctrl-C once and
// twice; a terminal that is lost.
func TestWizardOnATerminal(t *testing.T) {
	heard(t)
	program := filepath.Join(t.TempDir(), "kubectl-meshca")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	const word = "correct-horse-battery"
	demo := []string{"demo", "--wizard", "--scenario", "straggler", "--speed", "40"}
	form := func(o *operator) {
		o.sees("passed", "3")
		o.sees("New CA", "\x1b[B\x1b[B\x1b[B\x1b[B") // to the passphrase
		o.sees("it is not shown", word+"\r"+word+"\r\r\r")
		o.sees("enter asks for the cluster's name", "\r")
		o.sees("Type the cluster's name, demo-straggler", "demo-straggler\r")
		o.sees("trust-new", "")
	}
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		o := sit(t, program, append(demo, "--plain")...)
		o.sees("Enter goes on to Versions, q quits:", "\n")
		o.sees("Enter goes on to Transition, q quits:", "\n")
		o.sees("r plans a rotation", "r\n")
		for range 4 { // why, new CA, old root's key, seal to
			o.sees("]:", "\n")
		}
		o.sees("(not shown):", word+"\n")
		o.sees("(not shown):", word+"\n")
		o.sees("]:", "\n")
		o.sees("to begin; Enter alone leaves it:", "demo-straggler\n")
		o.sees("Phase 2 of 5, trust-new", "p\n")
		o.sees("paused: nothing is written", "?\n")
		o.sees("Now: Paused in phase 2", "b\n")
		o.sees("To confirm, type the cluster's name", "demo-straggler\n")
		o.sees("going back", "")
		o.sees("result: Rolled back: the mesh trusts", "")
		o.sees("w saves the report, Enter goes on:", "w\n")
		o.sees("Saved as", "")
		o.sees("Enter goes on to Envoy", "\n")
		o.ends(0)
		if strings.Contains(o.text(), word) {
			t.Error("the passphrase is on the terminal")
		}
		if strings.Contains(o.text(), "\x1b") {
			t.Error("the plain mode draws")
		}
		if saved, err := filepath.Glob(filepath.Join(o.cmd.Dir, "meshca-report-*")); err != nil || len(saved) != 2 {
			t.Errorf("saved: %v %v", saved, err)
		}
	})
	t.Run("interrupted twice", func(t *testing.T) {
		t.Parallel()
		o := sit(t, program, demo...)
		form(o)
		o.sees("in the way", "\x03")
		o.sees("Stop here?", "x")
		o.sees("Phase 2 of 5", "\x03")
		o.sees("Stop here?", "\x03")
		o.sees("stopped. ", "")
		o.sees("this mesh was in memory and is gone. Begin again with: kubectl meshca demo --wizard --scenario straggler", "")
		o.ends(130)
		if strings.Contains(o.text(), word) {
			t.Error("the passphrase is on the terminal")
		}
	})
	t.Run("terminal lost", func(t *testing.T) {
		t.Parallel()
		o := sit(t, program, demo...)
		form(o)
		if err := o.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		o.ends(129)
	})
}
