package plain

import "strings"

// Word is one word for a POSIX shell, whatever is in it.
func Word(word string) string {
	plainly := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@=,+", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plainly(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
