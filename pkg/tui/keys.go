package tui

import "github.com/charmbracelet/bubbles/key"

// keyMap is every key of the wizard; the help bar is made from it, so that it
// cannot say what is not so.
type keyMap struct {
	Up, Down, PageUp, PageDown, Home, End key.Binding
	Enter, Back, Change, Details          key.Binding
	NextStep, PrevStep, Jump              key.Binding
	Again, Filter, Sort, Save             key.Binding
	Pause, Accept, RollBack, Strategy     key.Binding
	Help, Quit, Interrupt                 key.Binding
}

func newKeyMap() keyMap {
	bind := func(short, about string, keys ...string) key.Binding {
		return key.NewBinding(key.WithKeys(keys...), key.WithHelp(short, about))
	}
	return keyMap{
		Up: bind("↑↓", "select", "up", "k"), Down: bind("↓", "down", "down", "j"),
		PageUp: bind("pgup", "page up", "pgup"), PageDown: bind("pgdn", "page down", "pgdown", " "),
		Home: bind("home", "first", "home", "g"), End: bind("end", "last", "end", "G"),
		Enter: bind("enter", "details", "enter"), Back: bind("esc", "back", "esc"), Change: bind("←→", "change", "left", "right", " "),
		Details:  bind("d", "details", "d"),
		NextStep: bind("tab", "next", "tab"), PrevStep: bind("shift+tab", "step before", "shift+tab"), Jump: bind("1-5", "step", "1", "2", "3", "4", "5"),
		Again: bind("r", "look again", "r"), Filter: bind("/", "filter", "/"), Sort: bind("s", "sort", "s"), Save: bind("w", "save", "w"),
		Pause: bind("p", "pause", "p"), Accept: bind("a", "accept", "a"), RollBack: bind("b", "roll back", "b"), Strategy: bind("s", "strategy", "s"),
		Help: bind("?", "keys", "?"), Quit: bind("q", "quit", "q"), Interrupt: bind("ctrl+c", "stop", "ctrl+c"),
	}
}

// named is a binding under another name.
func named(b key.Binding, about string) key.Binding {
	b.SetHelp(b.Help().Key, about)
	return b
}
