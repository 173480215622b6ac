package tui

import (
	"github.com/charmbracelet/bubbles/cursor"
	"github.com/charmbracelet/bubbles/textinput"
)

// input is one line to type into: with a cursor that does not blink, so that an
// idle wizard draws nothing.
func (c common) input(prompt string) textinput.Model {
	t := textinput.New()
	t.Prompt = prompt
	t.PromptStyle, t.TextStyle, t.PlaceholderStyle = c.styles.faint, c.styles.title, c.styles.faint
	t.Cursor.Style, t.Cursor.TextStyle = c.styles.selected, c.styles.title
	t.Cursor.SetMode(cursor.CursorStatic)
	return t
}

// secret is one that shows nothing of what is typed, not even how much.
func (c common) secret(prompt string) textinput.Model {
	t := c.input(prompt)
	t.EchoMode = textinput.EchoNone
	return t
}
