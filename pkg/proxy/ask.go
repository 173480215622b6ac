package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// answer is what an admin port says to one request.
type answer struct {
	raw []byte
	err error
}

// ask puts all questions to the target's admin port at once, over one connection
// (RFC 9112 9.3.2, pipelining), so that the way through API server and kubelet is
// gone once. A proxy that closes the connection after an answer, as a draining one
// does, is asked what is left over a new one.
func (r *Reader) ask(ctx context.Context, target Target, paths ...string) []answer {
	answers := make([]answer, 0, len(paths))
	for len(answers) < len(paths) {
		got, err := r.askOnce(ctx, target, paths[len(answers):])
		answers = append(answers, got...)
		for err != nil && len(answers) < len(paths) { // a line that failed is not tried again
			answers = append(answers, answer{err: fmt.Errorf("reading %s: %w", paths[len(answers)], err)})
		}
	}
	return answers
}

// askOnce returns the answers that came over one connection. Without an error there
// is at least one, and none follows because the proxy closed it.
func (r *Reader) askOnce(ctx context.Context, target Target, paths []string) (answers []answer, err error) {
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	connection, err := r.Dialer.DialPod(ctx, target.Pod, target.AdminPort)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	var questions strings.Builder
	for _, path := range paths {
		fmt.Fprintf(&questions, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	}
	if _, err := io.WriteString(connection, questions.String()); err != nil {
		return nil, err
	}
	in := bufio.NewReader(connection)
	for _, path := range paths {
		one, last, err := read(in, path)
		if err != nil {
			return answers, err
		}
		if answers = append(answers, one); last {
			break
		}
	}
	return answers, nil
}

// read takes one answer off the line; last says that none follows on it. An error
// is one of the line: what else follows cannot be told apart.
func read(in *bufio.Reader, path string) (one answer, last bool, err error) {
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		return answer{}, true, err
	}
	defer response.Body.Close()
	one.raw, err = io.ReadAll(io.LimitReader(response.Body, MaxAnswer+1))
	switch {
	case err != nil:
		return answer{}, true, err
	case len(one.raw) > MaxAnswer:
		return answer{}, true, fmt.Errorf("the answer is larger than %d bytes", MaxAnswer)
	case response.StatusCode != http.StatusOK:
		one = answer{err: fmt.Errorf("reading %s: it answered %d", path, response.StatusCode)}
	}
	return one, response.Close, nil
}
