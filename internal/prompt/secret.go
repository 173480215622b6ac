package prompt

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"
)

// Terminal is the terminal that a stream is, if it is one. Its number is asked once:
// whoever still waits for a line does not touch a file that its owner may have closed.
func Terminal(stream any) (fd int, is bool) {
	f, ok := stream.(*os.File)
	if !ok {
		return 0, false
	}
	fd = int(f.Fd())
	return fd, term.IsTerminal(fd)
}

// Secret reads one line that is not shown. It ends with the context, and leaves the
// terminal as it was: a reader that waits without echo hears no Ctrl-C.
func Secret(ctx context.Context, terminal int) (string, error) {
	state, err := term.GetState(terminal)
	if err != nil {
		return "", fmt.Errorf("reading the passphrase: %w", err)
	}
	word, err := Await(ctx, func() ([]byte, error) { return term.ReadPassword(terminal) })
	switch {
	case ctx.Err() != nil && err != nil:
		return "", errors.Join(err, term.Restore(terminal, state))
	case err != nil:
		return "", fmt.Errorf("reading the passphrase: %w", err)
	}
	return string(word), nil
}
