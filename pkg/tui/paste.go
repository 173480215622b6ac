package tui

import (
	"errors"
	"strings"
	"unicode"
)

// pasted is what a paste types: its line, without the end of it that is copied along. An
// input makes a space of the end of a line, and of a tab (bubbles 1.0.0
// textinput/textinput.go, san): a passphrase with a space that nobody sees is one that
// nobody knows, and what is sealed to it is lost.
func pasted(text []rune) ([]rune, error) {
	line := strings.TrimRight(string(text), "\r\n")
	if strings.ContainsFunc(line, unicode.IsControl) {
		return nil, errors.New("what was pasted is more than a line, or holds a tab: nothing of it was taken")
	}
	return []rune(line), nil
}
