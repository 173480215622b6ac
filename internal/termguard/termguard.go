// Package termguard keeps a program from asking its terminal anything before main
// runs. Bubble Tea v1 asks for the background's colour in its init
// (bubbletea v1.3.10 tea_init.go), and on a terminal that does not answer every
// command, even one that only prints, stands still for five seconds. termenv asks
// none whose TERM begins with "screen" (termenv v0.16.0 termenv_unix.go:234), so
// this package sets TERM so until Restore.
//
// It imports os alone, and its path sorts before os/exec, which Bubble Tea needs:
// packages are initialised in the order of their paths among those that are ready
// (Go specification, package initialization), so this one always comes first.
package termguard

import "os"

//nolint:gochecknoglobals // it has to be set before any other package's init
var term = hide()

func hide() string {
	was := os.Getenv("TERM")
	if was != "" {
		_ = os.Setenv("TERM", "screen") // without it the terminal is asked: slow, and not wrong
	}
	return was
}

// Restore gives TERM back its value. It is the first line of main.
func Restore() {
	if term != "" {
		_ = os.Setenv("TERM", term)
	}
}
