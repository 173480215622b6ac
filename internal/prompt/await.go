// Package prompt reads what somebody types.
package prompt

import "context"

// Await is what read gives, or why the context has ended before: whoever is asked may be
// gone, and Ctrl-C is an answer too. A read that is left ends with its next line.
func Await[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type answer struct {
		text T
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := read()
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		return a.text, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
