package tui

import (
	"bufio"
	"io"
	"strings"
)

// lineReader reads a line only when somebody has asked for one, so that a question
// which reads the terminal itself (a passphrase) never meets a reader that waits
// already. What was asked for and not taken is the answer to the next question.
type lineReader struct {
	in      *bufio.Reader
	lines   chan typedLine
	pending bool
}

type typedLine struct {
	text string
	err  error
}

func newLineReader(in io.Reader) *lineReader {
	return &lineReader{in: bufio.NewReader(in), lines: make(chan typedLine, 1)}
}

// next is where the next line comes.
func (r *lineReader) next() <-chan typedLine {
	if !r.pending {
		r.pending = true
		go func() {
			text, err := r.in.ReadString('\n')
			if text != "" {
				err = nil // the end comes again
			}
			r.lines <- typedLine{strings.TrimSpace(text), err}
		}()
	}
	return r.lines
}

// take is the line that has come.
func (r *lineReader) take(m typedLine) (string, error) {
	r.pending = false
	return m.text, m.err
}
