package tui_test

import (
	"context"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/plugin"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/tui"
)

type wall struct{}

func (wall) Now() time.Time                         { return time.Now() }
func (wall) After(d time.Duration) <-chan time.Time { return time.After(d) }

// driver is an operator: it presses keys and reads frames. It runs the model as
// Bubble Tea does, on the bubble's clock, which no terminal can.
type driver struct {
	t      *testing.T
	ctx    context.Context
	kill   context.CancelFunc
	wizard *tui.Wizard
	news   chan tea.Msg
	left   bool
}

func drive(t *testing.T, d *rehearsal.Demonstration, width, height int) *driver {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	o := &driver{t: t, ctx: ctx, kill: kill, news: make(chan tea.Msg)}
	o.wizard = tui.New(ctx, tui.Options{Backend: plugin.DemoBackend(d), Out: os.Stdout, Now: time.Now})
	o.do(o.wizard.Init())
	o.update(tea.WindowSizeMsg{Width: width, Height: height})
	return o
}

func (o *driver) do(c tea.Cmd) {
	if c == nil {
		return
	}
	go func() {
		switch m := c().(type) {
		case nil:
		case tea.BatchMsg:
			for _, c := range m {
				o.do(c)
			}
		default:
			select {
			case o.news <- m:
			case <-o.ctx.Done():
			}
		}
	}()
}

func (o *driver) update(m tea.Msg) {
	if _, ok := m.(tea.QuitMsg); ok {
		o.left = true
		return
	}
	_, c := o.wizard.Update(m)
	o.do(c)
}

func (o *driver) frame() string {
	frame := o.wizard.View()
	if text := ansi.Strip(frame); strings.Contains(text, "PRIVATE KEY") || strings.Contains(text, "AGE-SECRET") || strings.Contains(text, passphrase) {
		o.t.Fatalf("a secret is on the screen:\n%s", text)
	}
	return frame
}

// until waits until all texts are on the screen at once.
func (o *driver) until(texts ...string) {
	o.t.Helper()
	patience := time.After(time.Hour)
	for !o.shows(texts...) {
		select {
		case m := <-o.news:
			o.update(m)
		case <-patience:
			o.t.Fatalf("%q never came:\n%s", texts, ansi.Strip(o.frame()))
		}
	}
}

func (o *driver) shows(texts ...string) bool {
	frame := strings.Join(strings.Fields(ansi.Strip(o.frame())), " ") // sentences are wrapped
	return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(frame, text) })
}

// press presses keys by name, or types a text.
func (o *driver) press(keys ...string) {
	for _, k := range keys {
		m := tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)}
		for _, special := range []tea.KeyType{tea.KeyEnter, tea.KeyUp, tea.KeyDown, tea.KeyRight, tea.KeyTab, tea.KeyEsc, tea.KeyCtrlC} {
			if special.String() == k {
				m = tea.KeyMsg{Type: special}
			}
		}
		o.update(m)
	}
}

const passphrase = "correct-horse-battery"

func ending(identity *age.X25519Identity) string {
	recipient := identity.Recipient().String()
	return recipient[len(recipient)-8:]
}

// smallMesh is a hot mesh of five proxies, one of which hangs.
func smallMesh(t *testing.T, ctx context.Context) *rehearsal.Demonstration {
	t.Helper()
	root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "root A"}, Key: pki.ECDSAP256, Now: time.Now(), PathLen: -1})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := root.NewIntermediate(pki.Request{Subject: pkix.Name{CommonName: "mesh CA A"}, Key: pki.ECDSAP256, Now: time.Now(), PathLen: 0})
	if err != nil {
		t.Fatal(err)
	}
	m, err := rehearsal.New(ctx, wall{}, rehearsal.Spec{CA: signer, MultiRoot: true, XDSAgent: true, Release: "1.30.3", Replicas: 2, TTL: 24 * time.Hour, Lag: time.Second,
		Workloads: []rehearsal.Workload{{Namespace: "pay", Name: "ledger", Proxies: 2}, {Namespace: "web", Name: "front", Proxies: 3}}})
	if err != nil {
		t.Fatal(err)
	}
	d := &rehearsal.Demonstration{Name: "small", Mesh: m, Clock: wall{}, OldRoot: root, Straggler: m.Workload("pay", "ledger")[0]}
	if err := m.Hang(d.Straggler); err != nil {
		t.Fatal(err)
	}
	return d
}

// inBubble plays in a folder and a bubble of its own, with somebody to seal to: no
// goroutine may be left.
func inBubble(t *testing.T, play func(*testing.T, context.Context, *age.X25519Identity)) {
	t.Helper()
	t.Chdir(t.TempDir())
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		play(t, ctx, identity)
		cancel()
		time.Sleep(2 * time.Second) // the last second of a wizard's stopwatch
	})
}

// onSmallMesh plays on a small mesh: no handshake may have failed in the end.
func onSmallMesh(t *testing.T, play func(*testing.T, *rehearsal.Demonstration, *age.X25519Identity)) {
	t.Helper()
	inBubble(t, func(t *testing.T, ctx context.Context, identity *age.X25519Identity) {
		d := smallMesh(t, ctx)
		play(t, d, identity)
		noneFailed(t, d.Mesh)
	})
}

func noneFailed(t *testing.T, m *rehearsal.Mesh) {
	t.Helper()
	if failures, judged := m.Failures(); len(failures) > 0 || judged == 0 {
		t.Errorf("%d of %d handshakes failed, the first: %+v", len(failures), judged, failures[:min(1, len(failures))])
	}
}

// TestGuidedRotation is a whole rotation as an operator would see it: a plan, a
// wrong name, a pause, a closed gate, an unknown that is accepted, a kill, and
// another wizard that finds what was begun and finishes it. That the bubble ends is
// the proof that no goroutine is left.
func TestGuidedRotation(t *testing.T) {
	onSmallMesh(t, func(t *testing.T, d *rehearsal.Demonstration, identity *age.X25519Identity) {
		o := drive(t, d, 80, 24)
		o.until("checks passed")
		o.press("3")
		o.until("New CA")
		o.press("down", "down", "down", "right", "down", identity.Recipient().String(), "enter", ending(identity), "enter", "enter", "enter")
		o.until("hot-bundle: all 5 proxies")
		o.press("enter")
		o.press("demo-", "enter")
		o.until("that is not the cluster's name")
		o.press("small", "enter")
		o.until("Phase 2 of 5, trust-new")
		o.press("p")
		o.until("Paused in phase 2")
		o.press("p")
		o.until("resumed")
		o.until("in the way: ") // it is written: one frozen before is in the way of the first write, if the pause held that up

		frozen := d.Mesh.Workload("web", "front")[0]
		d.Mesh.Freeze(frozen)
		o.until("in the way: 2", "✗ proxy pay/ledger", "? proxy web/front")
		if o.press("a"); !o.shows("only what is unknown can be") {
			t.Errorf("a failure that was seen may be accepted:\n%s", ansi.Strip(o.frame()))
		}
		o.press("down", "a")
		o.until("as unknown?")
		o.press("node is being drained", "enter")
		o.until("the demonstration does what you would")
		o.until("Phase 3 of 5, sign-new")

		o.press("ctrl+c")
		o.until("Stop here? Safe: the new CA signs")
		o.press("ctrl+c")
		for !o.left {
			select {
			case m := <-o.news:
				o.update(m)
			case <-time.After(time.Minute):
				t.Fatalf("two interrupts did not end it:\n%s", ansi.Strip(o.frame()))
			}
		}
		o.kill()
		d.Mesh.Thaw(frozen)

		o = drive(t, d, 80, 24)
		o.until("is under way")
		o.press("enter")
		o.until("begin")
		o.press("enter", "demo-small", "enter")
		o.until("Done: every proxy trusts")
		o.press("w")
		o.until("Saved as")
		o.press("4")
		o.until("Proven: every live certificate")
		o.press("5")
		o.until("each has a valid certificate")
		o.kill()
	})
	saved, err := filepath.Glob("meshca-report-*.md")
	if err != nil || len(saved) != 1 {
		t.Fatalf("saved results: %v %v", saved, err)
	}
	text, err := os.ReadFile(saved[0])
	if err != nil || !strings.Contains(string(text), "result: Done: every proxy trusts") || !strings.Contains(string(text), "# Mesh CA report") {
		t.Errorf("the saved result: %v\n%s", err, text)
	}
}
