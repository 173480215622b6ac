package tui_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/plugin"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/tui"
)

// listener is whoever hears the plain mode and types: it waits for what is said, and
// never sees anything twice.
type listener struct {
	t     *testing.T
	said  chan string
	all   string
	heard int // of all, what has been waited for
	typed *io.PipeWriter
	left  chan tui.Outcome
	kill  context.CancelFunc
}

func (l *listener) Write(p []byte) (int, error) {
	l.said <- string(p)
	return len(p), nil
}

func listen(t *testing.T, d *rehearsal.Demonstration) *listener {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	in, typed := io.Pipe()
	l := &listener{t: t, said: make(chan string, 1<<16), typed: typed, left: make(chan tui.Outcome, 1), kill: kill}
	go func() {
		left, err := tui.RunPlain(ctx, tui.Options{Backend: plugin.DemoBackend(d), In: in, Out: l, Now: time.Now})
		if err != nil {
			t.Errorf("the plain mode: %v", err)
		}
		l.left <- left
	}()
	return l
}

// hears waits until a text is said, and then types an answer.
func (l *listener) hears(text, answer string) {
	l.t.Helper()
	patience := time.After(time.Hour)
	for !strings.Contains(l.all[l.heard:], text) {
		select {
		case more := <-l.said:
			if strings.ContainsAny(more, "\x1b\r\a") {
				l.t.Fatalf("the plain mode draws: %q", more)
			}
			l.all += more
		case <-patience:
			l.t.Fatalf("%q was never said:\n%s", text, l.all)
		}
	}
	l.heard += strings.Index(l.all[l.heard:], text) + len(text)
	if answer != "" {
		l.types(answer)
	}
}

func (l *listener) types(text string) {
	l.t.Helper()
	if _, err := io.WriteString(l.typed, text+"\n"); err != nil {
		l.t.Fatal(err)
	}
}

// ends waits until it has left, and lets nobody type any more.
func (l *listener) ends() tui.Outcome {
	l.t.Helper()
	select {
	case left := <-l.left:
		l.kill()
		l.typed.Close()
		return left
	case <-time.After(time.Hour):
		l.t.Fatalf("it was not left:\n%s", l.all)
	}
	return tui.Outcome{}
}

// TestPlain is a whole rotation without a screen: a closed gate, an exception, a
// pause, the way back, a kill, a resume and the report, all of it typed.
func TestPlain(t *testing.T) {
	onSmallMesh(t, func(t *testing.T, d *rehearsal.Demonstration, identity *age.X25519Identity) {
		l := listen(t, d)
		defer func() { l.kill(); l.typed.Close() }()
		transition := func() {
			l.hears("Enter goes on to Versions", " ")
			l.hears("Enter goes on to Transition", " ")
		}
		transition()
		l.hears("r plans a rotation", "r")
		for _, answer := range []string{"", "", "", "2", identity.Recipient().String(), ending(identity), ""} {
			l.hears("]:", "")
			l.types(answer)
		}
		l.hears("Cost: ", "")
		l.hears("Type the cluster's name, demo-small, to begin", "demo-smal")
		l.hears("That is not the cluster's name: nothing was changed.", "")
		l.hears("Type the cluster's name, demo-small, to begin", "demo-small")
		l.hears("Phase 2 of 5, trust-new", "")
		l.hears("write: secret istio-system/cacerts", "p")
		l.hears("paused: nothing is written until it is resumed", "?")
		l.hears("Now: Paused in phase 2 of 5", "")
		l.hears("Stop: Safe: the old CA still signs", "")
		frozen := d.Mesh.Workload("web", "front")[0]
		d.Mesh.Freeze(frozen)
		l.hears("(and 1 more)", "a")
		l.hears("unknown: proxy web/front-", "")
		l.hears("Accept which number?", "2")
		l.hears("Your reason, for the journal", "node is being drained")
		l.hears(frozen+" may stay unknown: node is being drained", "g")
		l.hears("resumed", "")
		l.hears("the demonstration does what you would", "")
		l.hears("Phase 3 of 5, sign-new", "q")
		l.hears("Stop here? ", "n")
		l.hears("until every certificate of before has expired: "+frozen, "b")
		d.Mesh.Thaw(frozen)
		l.hears("type the cluster's name, demo-small:", "small")
		l.hears("nothing was ordered", "b")
		l.hears("type the cluster's name, demo-small:", "demo-small")
		l.hears("going back", "")
		l.hears("sign-new: every proxy trusts the old root too", "")
		l.kill()
		if left := l.ends(); left.Means == "" || !left.Interrupted {
			t.Errorf("killed on the way back it says %+v", left)
		}

		l = listen(t, d)
		transition()
		l.hears("is on its way back", "")
		l.hears("r goes on with it, b plans it forward again", "r")
		l.hears("Type the cluster's name", "demo-small")
		l.hears("result: Rolled back: the mesh trusts CN=root A", "")
		l.hears("w saves the report", "w")
		l.hears("Saved as", "")
		l.hears("Step 4 of 5: Verify", "")
		l.hears("Enter goes on to Envoy", " ")
		l.hears("Step 5 of 5: Envoy", "")
		if left := l.ends(); left != (tui.Outcome{}) {
			t.Errorf("left in order it says %+v", left)
		}
	})
}
