//go:build unix

package tui

import (
	"context"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"go.uber.org/goleak"
	"golang.org/x/term"
)

// told is what somebody is told, as it comes.
type told chan string

func (c told) Write(p []byte) (int, error) {
	c <- string(p)
	return len(p), nil
}

// TestPassphraseInterrupted: who gives up at the passphrase is let go, with a terminal
// that shows again what is typed.
func TestPassphraseInterrupted(t *testing.T) {
	before := goleak.IgnoreCurrent()
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer terminal.Close()
	state := func() *term.State {
		s, err := term.GetState(int(terminal.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	shown := state()
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	out, left := make(told, 1<<16), make(chan Outcome, 1)
	go func() {
		o, err := RunPlain(ctx, Options{Backend: scripted{seen: fixture(8)}, In: terminal, Out: out, Now: noon})
		if err != nil {
			t.Errorf("the plain mode: %v", err)
		}
		left <- o
	}()
	if _, err := io.WriteString(master, "\n\nr\n\n\n\n\n"); err != nil {
		t.Fatal(err)
	}
	for said := ""; !strings.Contains(said, "passphrase (not shown):"); {
		select {
		case more := <-out:
			said += more
		case <-time.After(time.Minute):
			t.Fatalf("it was never asked for:\n%s", said)
		}
	}
	for patience := time.Now().Add(time.Minute); reflect.DeepEqual(state(), shown); time.Sleep(time.Millisecond) {
		if time.Now().After(patience) {
			t.Fatal("the passphrase would be shown")
		}
	}
	interrupt()
	select {
	case o := <-left:
		if !o.Interrupted {
			t.Errorf("it says %+v", o)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing ends it")
	}
	if !reflect.DeepEqual(state(), shown) {
		t.Error("the terminal is left as it was for the passphrase")
	}
	if _, err := io.WriteString(master, "\n"); err != nil { // whoever still waits for a line
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before) // and before the terminal is closed: its number is the next one's
}
