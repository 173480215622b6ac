package tui

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/bubbles/textinput"
	"github.com/charmbracelet/lipgloss"
	"github.com/meshca/kubectl-meshca/internal/plain"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/muesli/termenv"
	"golang.org/x/term"
)

// plainWidth is that of a line of the plain mode.
const plainWidth = 100

// talk is the plain mode: the same pages as lines, the same questions one by one.
// Nothing on the screen is ever drawn over, so that a screen reader can follow.
type talk struct {
	common
	ctx     context.Context
	backend Backend
	in      io.Reader
	lines   *bufio.Reader
	out     io.Writer
	outcome Outcome
}

// RunPlain is Run without a screen.
func RunPlain(ctx context.Context, o Options) (Outcome, error) {
	r := lipgloss.NewRenderer(o.Out)
	r.SetColorProfile(termenv.Ascii)
	t := &talk{common: common{bound: newKeyMap(), styles: newStyles(r), now: o.Now}, ctx: ctx, backend: o.Backend, in: o.In, lines: bufio.NewReader(o.In), out: o.Out}
	err := t.all()
	if errors.Is(err, io.EOF) || errors.Is(err, errLeft) {
		err = nil
	}
	if ctx.Err() != nil {
		t.outcome.Interrupted, err = true, nil
	}
	return t.outcome, err
}

var errLeft = errors.New("left") //nolint:gochecknoglobals // a sentinel

func (t *talk) say(format string, args ...any) { fmt.Fprintln(t.out, fmt.Sprintf(format, args...)) }

// ask reads one line.
func (t *talk) ask(question string) (string, error) {
	fmt.Fprint(t.out, question+" ")
	line, err := t.lines.ReadString('\n')
	if err != nil && line == "" {
		return "", err
	}
	return strings.TrimSpace(line), t.ctx.Err()
}

func (t *talk) look() (*Look, error) {
	t.say("Reading the mesh. Nothing is changed.")
	return t.backend.Look(t.ctx, func(int, int) {})
}

func (t *talk) page(name string, p page, l *Look) {
	p.look(l)
	t.say("\n%s %s", name, p.mark())
	for _, f := range p.facts() {
		t.say("%s: %s", f.label, plain.Line(f.text))
	}
	for _, line := range strings.Split(p.view(plainWidth, 200), "\n") {
		if line = strings.TrimRight(line, " "); line != "" {
			t.say("%s", line)
		}
	}
}

func (t *talk) next(step string) error {
	answer, err := t.ask("\nEnter goes on to " + step + ", q quits:")
	if err == nil && strings.HasPrefix(strings.ToLower(answer), "q") {
		return errLeft
	}
	return err
}

func (t *talk) all() error {
	l, err := t.look()
	if err != nil {
		return err
	}
	t.page("Step 1 of 5: Check", newCheckPage(t.common), l)
	if err := t.next("Versions"); err != nil {
		return err
	}
	t.page("Step 2 of 5: Versions", newVersionsPage(t.common), l)
	if err := t.next("Transition"); err != nil {
		return err
	}
	if err := t.transition(l); err != nil {
		return err
	}
	if l, err = t.look(); err != nil {
		return err
	}
	t.page("Step 4 of 5: Verify", newVerifyPage(t.common), l)
	if err := t.next("Envoy"); err != nil {
		return err
	}
	t.page("Step 5 of 5: Envoy", newEnvoyPage(t.common), l)
	return nil
}

func (t *talk) transition(l *Look) error {
	p := &transition{common: t.common, ctx: t.ctx, backend: t.backend, seen: l}
	t.say("\nStep 3 of 5: Transition")
	for _, f := range p.facts() {
		t.say("%s: %s", f.label, plain.Line(f.text))
	}
	if l.Underway != nil && !p.resumes() {
		return t.next("Verify")
	}
	answer, err := t.ask("\nr rotates now, Enter goes on to Verify:")
	if err != nil || answer != "r" {
		return err
	}
	p.choice = Choice{Resume: true}
	if !p.resumes() {
		if p.choice, err = t.answers(l); err != nil {
			return err
		}
	}
	plan, err := t.backend.Plan(t.ctx, p.choice)
	if err != nil {
		return err
	}
	v := newPlanView(t.common)
	v.add(plan, true)
	for _, f := range v.facts() {
		t.say("%s: %s", f.label, plain.Line(f.text))
	}
	for _, i := range v.all {
		t.say("%s %s", i.symbol, plain.Line(i.text))
	}
	if !v.runnable() {
		return nil
	}
	answer, err = t.ask("\nType the cluster's name, " + plain.Line(l.Cluster) + ", to begin:")
	if err != nil {
		return err
	}
	if answer != l.Cluster {
		t.say("That is not the cluster's name: nothing was changed.")
		return nil
	}
	return t.run(p, plan)
}

// answers asks the form's questions one by one.
func (t *talk) answers(l *Look) (Choice, error) {
	f := newForm(t.common, l.Cluster, l.At)
	for f.at = 0; f.at < len(f.visible()); f.at++ {
		q := f.current()
		if q == f.end {
			break
		}
		t.say("\n%s", q.help)
		if err := t.answer(strings.TrimSpace(q.label), q); err != nil {
			return Choice{}, err
		}
	}
	return f.choice()
}

func (t *talk) answer(label string, q *field) error {
	switch {
	case len(q.options) > 0:
		for i, o := range q.options {
			t.say("  %d %s", i+1, o)
		}
		text, err := t.ask(fmt.Sprintf("%s [%d]:", label, q.chosen+1))
		if n, bad := strconv.Atoi(text); bad == nil && n >= 1 && n <= len(q.options) {
			q.chosen = n - 1
		}
		return err
	case q.input.EchoMode == textinput.EchoNone:
		if file, ok := t.in.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
			fmt.Fprint(t.out, label+" (not shown): ")
			word, err := term.ReadPassword(int(file.Fd()))
			q.input.SetValue(string(word))
			t.say("")
			return err
		}
		return errors.New("a passphrase is only read from a terminal")
	}
	text, err := t.ask(fmt.Sprintf("%s [%s]:", label, q.input.Value()))
	if text != "" {
		q.input.SetValue(text)
	}
	return err
}

// run tells what happens, a line each; a gate is told when its counts change.
func (t *talk) run(p *transition, plan *rotation.Plan) error {
	p.live = newLive(t.common, plan)
	err := t.backend.Rotate(t.ctx, p.choice, func(e rotation.Event) {
		p.live.take(e)
		if e.Kind == rotation.EventPlan {
			return
		}
		t.say("%s %s %s: %s", e.Time.Format(time.TimeOnly), e.Phase, e.Kind, plain.Line(strings.TrimPrefix(e.Object+": "+e.Message, ": ")))
	})
	p.finished = err == nil
	command := t.backend.Command(p.after())
	t.say("\n%s", ticket(p.seen, p.choice, p.live, err, command, t.now()))
	if err == nil {
		return nil
	}
	t.outcome.Err, t.outcome.Means = err, stopMeans(plan.Strategy, p.live.phase)
	if p.changed() {
		t.outcome.Resume = command
	}
	return errLeft
}
