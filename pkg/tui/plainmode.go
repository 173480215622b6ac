package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/charmbracelet/bubbles/textinput"
	"github.com/charmbracelet/lipgloss"
	"github.com/meshca/kubectl-meshca/internal/plain"
	"github.com/meshca/kubectl-meshca/internal/prompt"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/muesli/termenv"
)

// talk is the plain mode: the same pages as lines, the same questions one by one.
// Nothing on the screen is ever drawn over, so that a screen reader can follow.
type talk struct {
	common
	ctx     context.Context
	backend Backend
	in      io.Reader
	lines   *lineReader
	out     io.Writer
	one     sync.Mutex // one line at a time
	form    *form
	outcome Outcome
}

// RunPlain is Run without a screen.
func RunPlain(ctx context.Context, o Options) (Outcome, error) {
	r := lipgloss.NewRenderer(o.Out)
	r.SetColorProfile(termenv.Ascii)
	t := &talk{common: common{bound: newKeyMap(), styles: newStyles(r), now: o.Now, carry: o.Carry}, ctx: ctx, backend: o.Backend, in: o.In, lines: newLineReader(o.In), out: o.Out}
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

func (t *talk) say(format string, args ...any) {
	t.one.Lock()
	defer t.one.Unlock()
	fmt.Fprintln(t.out, fmt.Sprintf(format, args...))
}

// ask reads one line.
func (t *talk) ask(question string) (string, error) {
	t.one.Lock()
	fmt.Fprint(t.out, question+" ")
	t.one.Unlock()
	select {
	case m := <-t.lines.next():
		return t.lines.take(m)
	case <-t.ctx.Done():
		return "", context.Cause(t.ctx)
	}
}

func (t *talk) look() (*Look, error) {
	t.say("Reading the mesh. Nothing is changed.")
	return t.backend.Look(t.ctx, func(int, int) {})
}

// lister is a page that can be told line by line.
type lister interface {
	page
	told() []item
}

func (t *talk) page(name string, p lister, l *Look) {
	p.look(l)
	t.say("\n%s %s", name, p.mark())
	for _, f := range p.facts() {
		if f.label != "Next" { // which keys to press: the question says what to type
			t.say("%s: %s", f.label, plain.Line(t.named(f.text)))
		}
	}
	for _, i := range p.told() {
		t.say("  %s %s", i.symbol, strings.TrimRight(plain.Line(i.text), " "))
		switch i.symbol {
		case symbolBad, symbolWarn, symbolUnknown: // what needs somebody is told whole
			for _, d := range i.detail {
				t.say("      %s", plain.Line(d))
			}
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
		t.say("%s: %s", f.label, plain.Line(t.named(f.text)))
	}
	choose := t.fresh
	if l.Underway != nil {
		choose = t.underWay
	}
	if l.Underway != nil && l.Underway.Running {
		return t.next("Verify")
	}
	for {
		chosen, err := choose(p)
		if err != nil || !chosen {
			return err
		}
		plan, answer, err := t.planned(p)
		switch {
		case err != nil:
			return err
		case plan == nil:
		case answer != l.Cluster:
			t.say("Nothing was changed.")
			return nil
		default:
			return t.run(p, plan)
		}
	}
}

// planned tells the plan of a choice, and those of other strategies that are asked for,
// and what was typed to begin; no plan where something else has to be chosen.
func (t *talk) planned(p *transition) (*rotation.Plan, string, error) {
	for {
		plan, err := t.plan(p)
		if err != nil || plan == nil || len(plan.Refusals) > 0 {
			return nil, "", err
		}
		var others []string
		if !p.choice.Resume {
			p.choice.Strategy = plan.Strategy // what was read is what is run
			for _, o := range plan.Options {
				if o.Possible && o.Strategy != plan.Strategy {
					others = append(others, string(o.Strategy))
				}
			}
		}
		if len(others) > 0 {
			t.say("\nAnother strategy is planned by its name: %s.", strings.Join(others, ", "))
		}
		answer, err := t.begins(p.seen.Cluster, others)
		if err != nil || !slices.Contains(others, answer) {
			return plan, answer, err
		}
		p.choice.Strategy = rotation.Strategy(answer)
	}
}

// begins asks for the cluster's name until it is that, another strategy's, or nothing at
// all: all that was answered before does not go with a slip of the hand.
func (t *talk) begins(cluster string, others []string) (string, error) {
	question := "\nType the cluster's name, " + plain.Line(cluster) + ", to begin; Enter alone leaves it:"
	for {
		answer, err := t.ask(question)
		if err != nil || answer == "" || answer == cluster || slices.Contains(others, answer) {
			return answer, err
		}
		t.say("That is not the cluster's name: nothing was changed.")
	}
}

// failed tells why something that only read did not come about, and what ends that.
func (t *talk) failed(err error) {
	t.say("%s %s", symbolBad, plain.Line(err.Error()))
	if hint := hintOf(err); hint != "" {
		t.say("hint: %s", plain.Line(hint))
	}
}

// plan tells what a choice would do, or why that cannot be said: then there is none.
func (t *talk) plan(p *transition) (*rotation.Plan, error) {
	t.say("Planning: looking at the mesh once more. Nothing is changed.")
	plan, err := t.backend.Plan(t.ctx, p.choice)
	if err != nil {
		t.failed(err)
		return nil, context.Cause(t.ctx)
	}
	v := newPlanView(t.common)
	v.back = p.choice.Back
	v.add(plan, true)
	for _, f := range v.facts() {
		if f.label != "Next" {
			t.say("%s: %s", f.label, plain.Line(t.named(f.text)))
		}
	}
	for _, i := range v.all {
		t.say("%s %s", i.symbol, plain.Line(i.text))
	}
	return plan, nil
}

// fresh asks what a new rotation needs to know; false where none is wanted.
func (t *talk) fresh(p *transition) (bool, error) {
	answer, err := t.ask("\nr plans a rotation, Enter goes on to Verify:")
	if err != nil || answer != "r" {
		return false, err
	}
	p.choice, err = t.answers(p.seen)
	return err == nil, err
}

// underWay asks which way one that was found goes on; false where it is left alone.
func (t *talk) underWay(p *transition) (bool, error) {
	turn := "b plans the way back"
	if p.goesBack() {
		turn = "b plans it forward again"
	}
	if p.resumes() {
		turn = "r goes on with it, " + turn
	}
	answer, err := t.ask("\n" + turn + ", Enter goes on to Verify:")
	p.choice = Choice{Resume: true, Back: p.goesBack(), Strategy: p.seen.Underway.Strategy}
	switch {
	case answer == "b":
		p.choice.Back = !p.choice.Back
	case answer != "r" || !p.resumes():
		return false, err
	}
	return err == nil, err
}

// answers asks the form's questions one by one, and again where they do not fit each
// other: what was answered stands as the default.
func (t *talk) answers(l *Look) (Choice, error) {
	if t.form == nil {
		t.form = newForm(t.common, l.Cluster, l.At)
	}
	for {
		if err := t.questions(t.form); err != nil {
			return Choice{}, err
		}
		c, err := t.form.choice()
		if err == nil {
			return c, nil
		}
		t.failed(err)
	}
}

func (t *talk) questions(f *form) error {
	for f.at = 0; f.at < len(f.visible()); f.at++ {
		q := f.current()
		if q == f.end {
			break
		}
		t.say("\n%s", q.help)
		if err := t.answer(strings.TrimSpace(q.label), q); err != nil {
			return err
		}
	}
	return nil
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
		word, err := t.secret(label + " (not shown):")
		q.input.SetValue(word)
		return err
	}
	was := q.input.Value()
	if was != "" {
		was += "; - for none"
	}
	text, err := t.ask(fmt.Sprintf("%s [%s]:", label, was))
	switch text {
	case "":
	case "-":
		q.input.SetValue("")
	default:
		q.input.SetValue(text)
	}
	return err
}

// secret reads one line that is not shown.
func (t *talk) secret(question string) (string, error) {
	terminal, ok := prompt.Terminal(t.in)
	if !ok {
		return "", errors.New("a passphrase is only read from a terminal")
	}
	t.one.Lock()
	fmt.Fprint(t.out, question+" ")
	t.one.Unlock()
	word, err := prompt.Secret(t.ctx, terminal)
	t.say("")
	return word, err
}
