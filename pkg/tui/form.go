package tui

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/charmbracelet/bubbles/key"
	"github.com/charmbracelet/bubbles/textinput"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
)

// field is one question of the form: one of several options, or a line of text.
type field struct {
	label, help string
	options     []string
	chosen      int
	input       textinput.Model
	// shown is nil for a question that is always asked.
	shown func(*form) bool
}

// form asks what rotate's flags ask.
type form struct {
	common
	fields []*field
	at     int
	err    error

	why, source, root, cert, key, chain, oldKey, sealTo, recipient, ending, file, word, again, end *field
}

func newForm(c common, cluster string, at time.Time) *form {
	f := &form{common: c}
	ask := func(label, help string, options ...string) *field {
		q := &field{label: label, help: help, options: options, input: c.input("")}
		f.fields = append(f.fields, q)
		return q
	}
	f.why = ask("Why", "expiring: the root's end is near. compromised: somebody else may have its key; until the last phase is proven, proxies still accept what it signed. move: another CA is to take over.",
		string(Expiring), string(Compromised), string(Move))
	f.source = ask("New CA", "made here: a root and an intermediate; the root's key leaves only sealed. from files: your own. same key: the root that stands gets a later end, where it only expires.", "made here", "from files", "same key")
	files := func(f *form) bool { return f.source.chosen == 1 }
	f.root = ask("  root", "PEM file of the new root.")
	f.cert = ask("  certificate", "PEM file of the certificate that signs (the intermediate).")
	f.key = ask("  its key", "PEM file of its key.")
	f.chain = ask("  chain", "PEM file of what stands between it and the root; may be left empty.")
	for _, q := range []*field{f.root, f.cert, f.key, f.chain} {
		q.shown = files
	}
	f.oldKey = ask("Old root's key", "PEM file, only needed to cross-sign where Istio's multi-root flags are off, or for the same key where an intermediate signs; may be left empty.")
	f.sealTo = ask("Seal copy to", "Old and new CA are kept in a sealed file before the first change: to a passphrase, or to an age recipient.", "passphrase", "age recipient")
	f.recipient = ask("  recipient", "age1...: whoever has the identity that belongs to it can open the copy.")
	f.ending = ask(fmt.Sprintf("  its last %d", EndingLength), fmt.Sprintf("Nobody tries to open the copy here: without its identity it is lost. Type the last %d characters of the recipient to say that you have it.", EndingLength))
	for _, q := range []*field{f.recipient, f.ending} {
		q.shown = func(f *form) bool { return f.sealTo.chosen == 1 }
	}
	f.word = ask("  passphrase", "It is not shown while you type. Without it nobody can open the copy.")
	f.again = ask("  once more", "The same again.")
	for _, q := range []*field{f.word, f.again} {
		q.input = c.secret("")
		q.shown = func(f *form) bool { return f.sealTo.chosen == 0 }
	}
	f.file = ask("Sealed file", "Where the sealed copy is written; never over a file that is there.")
	f.file.input.SetValue("meshca-" + tame(cluster) + "-" + at.UTC().Format("20060102-1504") + ".age")
	f.end = ask("", "Shows what would be done, what it costs, or why it would be refused. Nothing is changed.", "make the plan")
	f.focus()
	return f
}

// tame keeps of a name what a file's may have.
func tame(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, name)
	return strings.Trim(name[:min(len(name), 40)], "-.")
}

func (f *form) visible() []*field {
	var all []*field
	for _, q := range f.fields {
		if q.shown == nil || q.shown(f) {
			all = append(all, q)
		}
	}
	return all
}

func (f *form) current() *field {
	all := f.visible()
	f.at = max(0, min(f.at, len(all)-1))
	return all[f.at]
}

func (f *form) focus() {
	for _, q := range f.fields {
		q.input.Blur()
	}
	if q := f.current(); len(q.options) == 0 {
		q.input.Focus()
	}
}

// update reports whether the plan was asked for.
func (f *form) update(m tea.KeyMsg) (asked bool) {
	q, k := f.current(), f.bound
	if m.Type == tea.KeyUp || m.Type == tea.KeyDown || m.Type == tea.KeyTab || m.Type == tea.KeyShiftTab {
		f.err = nil // each field's help stands there
	}
	switch {
	case m.Type == tea.KeyUp, m.Type == tea.KeyShiftTab:
		f.at--
	case m.Type == tea.KeyDown, m.Type == tea.KeyTab:
		f.at++
	case key.Matches(m, k.Enter):
		if q == f.end {
			return true
		}
		f.at++
	case len(q.options) > 0 && m.Type == tea.KeyLeft:
		q.chosen = (q.chosen + len(q.options) - 1) % len(q.options)
	case len(q.options) > 0 && key.Matches(m, k.Change):
		q.chosen = (q.chosen + 1) % len(q.options)
	case len(q.options) == 0:
		if f.err = nil; m.Paste {
			m.Runes, f.err = pasted(m.Runes)
		}
		q.input, _ = q.input.Update(m)
	}
	f.focus()
	return false
}

// tabs reports whether Tab, or Shift-Tab, goes to another field: past the last, and before
// the first, it goes to another step.
func (f *form) tabs(back bool) bool {
	f.current() // within what is shown
	if back {
		return f.at > 0
	}
	return f.at < len(f.visible())-1
}

func (f *form) typing() bool { return len(f.current().options) == 0 }

// choice is what was answered.
func (f *form) choice() (Choice, error) {
	text := func(q *field) string {
		if q.shown != nil && !q.shown(f) {
			return ""
		}
		return strings.TrimSpace(q.input.Value())
	}
	path := func(q *field) string { return atHome(text(q)) }
	c := Choice{
		Reason: Reason(f.why.options[f.why.chosen]), Make: f.source.chosen == 0, Renew: f.source.chosen == 2, Root: path(f.root), Cert: path(f.cert), Key: path(f.key), ChainFile: path(f.chain),
		OldRootKey: path(f.oldKey), SealedFile: path(f.file), Recipient: text(f.recipient),
	}
	if f.sealTo.chosen == 0 {
		c.Passphrase = f.word.input.Value()
	}
	switch {
	case !c.Make && !c.Renew && (c.Root == "" || c.Cert == "" || c.Key == ""):
		return c, errors.New("root, certificate and key of the new CA must be named")
	case c.SealedFile == "":
		return c, errors.New("the sealed copy needs a file")
	case f.sealTo.chosen == 1 && c.Recipient == "":
		return c, errors.New("name an age recipient (age1...), or choose a passphrase")
	case f.sealTo.chosen == 1 && text(f.ending) != Ending(c.Recipient):
		return c, errors.New("the last 8 characters of the recipient are other ones")
	case f.sealTo.chosen == 0 && c.Passphrase == "":
		return c, errors.New("the passphrase is empty")
	case f.sealTo.chosen == 0 && c.Passphrase != f.again.input.Value():
		return c, errors.New("the two passphrases differ")
	}
	return c, nil
}

// atHome has a file named as one is to a shell, which a form has not: a ~ before the first
// slash is the home directory.
func atHome(name string) string {
	rest, ok := strings.CutPrefix(name, "~")
	if !ok || rest != "" && !os.IsPathSeparator(rest[0]) { // ~ann is left to fail by its name
		return name
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return name
	}
	return filepath.Join(home, rest)
}

// EndingLength is how many characters of a recipient are typed where nobody has tried
// to open what is sealed to it.
const EndingLength = 8

// Ending is how a recipient ends.
func Ending(recipient string) string {
	recipient = strings.TrimSpace(recipient)
	return recipient[max(0, len(recipient)-EndingLength):]
}

func (f *form) view(width, height int) string {
	const label = 18
	var lines []string
	for i, q := range f.visible() {
		pointer := "  "
		if i == f.at {
			pointer = "> "
		}
		lines = append(lines, pointer+fit(q.label, label)+f.answer(q, i == f.at, width-label-3))
	}
	foot := wrap(f.current().help, width-4, 3)
	if f.err != nil {
		foot = wrap(symbolBad+" "+f.err.Error(), width-4, 3)
		if hint := hintOf(f.err); hint != "" {
			foot = append(foot, wrap("hint: "+hint, width-4, 2)...)
		}
	}
	foot = foot[:max(0, min(len(foot), height-2))] // the field first, then what it means
	most := max(1, height-len(foot)-1)
	if top := f.at - most + 1; top > 0 {
		lines = lines[min(top, len(lines)):]
	}
	lines = append(lines[:min(len(lines), most)], "")
	for _, line := range foot {
		if f.err != nil {
			line = f.styles.bad.Render(line)
		} else {
			line = f.styles.faint.Render(line)
		}
		lines = append(lines, "  "+line)
	}
	return strings.Join(lines, "\n")
}

func (f *form) answer(q *field, focused bool, width int) string {
	if q == f.end {
		text := "[ " + q.options[0] + " ]"
		if focused {
			text = f.styles.selected.Render(text)
		}
		return text
	}
	if len(q.options) > 0 {
		var parts []string
		for i, o := range q.options {
			if i == q.chosen {
				parts = append(parts, f.styles.title.Render("(•) "+o))
			} else {
				parts = append(parts, "( ) "+o)
			}
		}
		if text := strings.Join(parts, "  "); ansi.StringWidth(text) <= width {
			return text
		}
		return fmt.Sprintf("%s  (%d of %d)", parts[q.chosen], q.chosen+1, len(parts))
	}
	if q.input.EchoMode == textinput.EchoNone {
		switch {
		case focused && q.input.Value() == "":
			return "type it: it is not shown"
		case q.input.Value() == "":
			return f.styles.faint.Render("-")
		}
		return "given"
	}
	if !focused {
		return cut(q.input.Value(), width)
	}
	q.input.Width = max(4, width-2)
	return q.input.View()
}
