package tui

import (
	"context"
	"errors"
	"io"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
)

// framesPerSecond bounds what goes over a slow line.
const framesPerSecond = 10

// Options are what the wizard runs on.
type Options struct {
	Backend Backend
	In      io.Reader
	// Out is the terminal it draws on.
	Out io.Writer
	Now func() time.Time
	// Color is auto, always or never; "" is auto: where the terminal has it, and NO_COLOR
	// is not set.
	Color string
	// Said tells what somebody else would have written on the screen meanwhile, as a
	// program does that logs in; nil where nobody would.
	Said <-chan string
	// Carry has the commands that a text names, as '...', be about the mesh that is looked
	// at; nil where they need nothing.
	Carry func(string) string
}

// Outcome is how the wizard was left.
type Outcome struct {
	// Interrupted is true where it was left by Ctrl-C, or its context has ended.
	Interrupted bool
	// Resume is the command that carries on what was begun, "" where nothing was.
	Resume string
	// Means says what the stop means for the mesh.
	Means string
	// Err is what a rotation ended with before its proof.
	Err error
	// Unread is why nothing of the mesh was ever seen.
	Unread error
}

// Run shows the wizard until it is left. Where ctx ends it is left at once; in
// every case the rotation has let go before Run returns.
func Run(ctx context.Context, o Options) (Outcome, error) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	w := New(inner, o)
	program := tea.NewProgram(w, tea.WithContext(inner), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithFPS(framesPerSecond),
		tea.WithAltScreen(), tea.WithMouseCellMotion(), tea.WithoutSignalHandler())
	_, err := program.Run()
	cancel()
	w.wg.Wait()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		err = nil
	}
	return w.outcome(ctx), err
}

// New is the wizard as a model, for who runs it by other means than Run; the
// renderer of o.Out decides about colour.
func New(ctx context.Context, o Options) *Wizard {
	w := newWizard(ctx, newCommon(o), o.Backend)
	w.voice = o.Said
	return w
}

func newCommon(o Options) common {
	r := lipgloss.NewRenderer(o.Out)
	switch {
	case o.Color == "never":
		r.SetColorProfile(termenv.Ascii)
	case o.Color == "always", r.ColorProfile() < termenv.ANSI: // TrueColor and ANSI256 sort before it
		r.SetColorProfile(termenv.ANSI)
	}
	return common{bound: newKeyMap(), styles: newStyles(r), now: o.Now, carry: o.Carry}
}

func (w *Wizard) outcome(ctx context.Context) Outcome {
	t := w.transition
	o := Outcome{Interrupted: w.interrupted || ctx.Err() != nil}
	if w.seen == nil {
		o.Unread = w.err
	}
	t.drain()
	if t.live == nil || t.finished {
		return o
	}
	o.Means = t.live.stopMeans()
	if t.changed() {
		o.Resume = w.backend.Command(t.after())
	}
	if t.stage == ended || t.changed() { // also where its result was left since
		o.Err = t.failure
	}
	return o
}
