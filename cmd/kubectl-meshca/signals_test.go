//go:build unix

package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// heard has what is started hear its signals, also where nohup has started these tests:
// what a process catches, those that it starts do not inherit as ignored. It is caught to
// the end: let go, it is ignored again, and Go does not say so any more.
func heard(t *testing.T) {
	t.Helper()
	caught := make(chan os.Signal, 1)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		if signal.Ignored(s) {
			signal.Notify(caught, s)
		}
	}
}

// TestRunOutlivesItsTerminal sends a run what ends the session that began it, or closes
// what reads of it. nohup, and a shell's job in the background, start it with the signal
// ignored, and Go's runtime ends a process that writes to a closed pipe on its standard
// output or error.
func TestRunOutlivesItsTerminal(t *testing.T) {
	heard(t)
	program := filepath.Join(t.TempDir(), "kubectl-meshca")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	ignoring := func(names string) []string {
		return []string{"sh", "-c", "trap '' " + names + `; exec "$0" "$@"`, program}
	}
	for _, test := range []struct {
		name   string
		line   []string
		signal os.Signal // what it is sent
		closed string    // or what nobody reads any more
		code   int
	}{
		{"nohup", ignoring("HUP"), syscall.SIGHUP, "", 0},
		{"in the background", ignoring("INT"), syscall.SIGINT, "", 0},
		{"nohup, and told to end", ignoring("HUP"), syscall.SIGTERM, "", 143},
		{"hung up", []string{program}, syscall.SIGHUP, "", 129},
		{"nobody reads its events", []string{program}, nil, "stdout", 0},
		{"nobody reads its progress", []string{program}, nil, "stderr", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(test.line[0], append(test.line[1:], "demo", "--scenario", "hot", "--speed", "400", "-o", "json")...)
			streams := map[string]io.ReadCloser{}
			for name, of := range map[string]func() (io.ReadCloser, error){"stdout": cmd.StdoutPipe, "stderr": cmd.StderrPipe} {
				pipe, err := of()
				if err != nil {
					t.Fatal(err)
				}
				streams[name] = pipe
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			overdue := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
			defer overdue.Stop()
			// The first line of each tells that it is under way.
			readers := map[string]*bufio.Reader{}
			for name, pipe := range streams {
				readers[name] = bufio.NewReader(pipe)
				if _, err := readers[name].ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			if test.signal != nil {
				if err := cmd.Process.Signal(test.signal); err != nil {
					t.Fatal(err)
				}
			}
			if test.closed != "" {
				_ = streams[test.closed].Close()
				delete(readers, test.closed)
			}
			said := make(chan string, len(readers))
			for _, reader := range readers {
				go func() {
					rest, _ := io.ReadAll(reader)
					said <- string(rest)
				}()
			}
			var all []string
			for range len(readers) {
				all = append(all, <-said)
			}
			err := cmd.Wait()
			if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
				t.Fatal(err)
			}
			if text := strings.Join(all, "\n"); strings.Contains(text, "hint: ") {
				t.Errorf("a mesh in memory is gone, and it says how to go on:\n%s", text)
			}
			if code := cmd.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exit code %d (%s), not %d:\n%s", code, cmd.ProcessState, test.code, strings.Join(all, "\n"))
			}
		})
	}
}
