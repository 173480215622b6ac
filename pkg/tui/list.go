package tui

import (
	"fmt"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
)

// list is the position in a long table: only what is visible is ever drawn.
type list struct {
	cursor, top int
	n, height   int
}

// resize says how many items there are, and how many lines they have.
func (l *list) resize(n, height int) {
	l.n, l.height = n, max(1, height)
	l.cursor = max(0, min(l.cursor, n-1))
	l.top = max(0, min(l.top, n-l.height))
	l.top = min(l.top, l.cursor)
	if l.cursor >= l.top+l.height {
		l.top = l.cursor - l.height + 1
	}
}

// move follows the keys, and reports whether one was for it.
func (l *list) move(m tea.KeyMsg, k keyMap) bool {
	switch {
	case key.Matches(m, k.Up):
		l.cursor--
	case key.Matches(m, k.Down):
		l.cursor++
	case key.Matches(m, k.PageUp):
		l.cursor -= l.height
	case key.Matches(m, k.PageDown):
		l.cursor += l.height
	case key.Matches(m, k.Home):
		l.cursor = 0
	case key.Matches(m, k.End):
		l.cursor = l.n - 1
	default:
		return false
	}
	l.resize(l.n, l.height)
	return true
}

// scroll follows the wheel.
func (l *list) scroll(m tea.MouseMsg) {
	switch m.Button {
	case tea.MouseButtonWheelUp:
		l.cursor -= 3
	case tea.MouseButtonWheelDown:
		l.cursor += 3
	default:
		return
	}
	l.resize(l.n, l.height)
}

// visible are the items to draw.
func (l *list) visible() (from, to int) { return l.top, min(l.n, l.top+l.height) }

// place says where in the list one is, "" where all of it is visible.
func (l *list) place() string {
	if l.n <= l.height {
		return ""
	}
	return fmt.Sprintf("%d-%d of %d", l.top+1, min(l.n, l.top+l.height), l.n)
}
