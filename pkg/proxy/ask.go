package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// answer is what an admin port says to one request.
type answer struct {
	raw []byte
	// upstreams is what /clusters says: too much to be kept as it comes.
	upstreams []Upstream
	err       error
}

const clustersPath = "/clusters"

// atOnce is how many questions wait on one connection: after the second answer an
// Envoy closes it, and does not say so, where a third question is there already
// (seen on 1.40).
const atOnce = 2

// ask puts the questions to the target's admin port, two at once over one connection
// (RFC 9112 9.3.2, pipelining): the way through API server and kubelet is gone once
// where there are no more. A proxy that closes after an answer, as a draining one
// does, is asked what is left over a new connection.
func (r *Reader) ask(ctx context.Context, target Target, paths ...string) []answer {
	answers := make([]answer, 0, len(paths))
	for len(answers) < len(paths) {
		got, err := r.askOnce(ctx, target, paths[len(answers):])
		answers = append(answers, got...)
		if len(got) > 0 && ctx.Err() == nil {
			continue // each connection answers something, or is the last
		}
		for err != nil && len(answers) < len(paths) {
			answers = append(answers, answer{err: fmt.Errorf("reading %s: %w", paths[len(answers)], err)})
		}
	}
	return answers
}

// askOnce returns the answers that came over one connection: all of them, at least
// one where the proxy closed it, or an error besides.
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
	in := bufio.NewReader(connection)
	for some := range slices.Chunk(paths, atOnce) {
		var questions strings.Builder
		for _, path := range some {
			fmt.Fprintf(&questions, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
		}
		if _, err := io.WriteString(connection, questions.String()); err != nil {
			return answers, err
		}
		for _, path := range some {
			one, last, err := read(in, path)
			if err == nil && ctx.Err() != nil {
				err = one.err // it was not read to its end, and that is no fault of its form
			}
			if err != nil {
				return answers, err
			}
			if answers = append(answers, one); last {
				return answers, nil
			}
		}
	}
	return answers, nil
}

// read takes one answer off the line; last says that none follows on it. An error
// is one of the line: what else follows cannot be told apart. Where something of the
// answer is left, its body is not closed, which would read it to its end: whoever asks
// closes the line.
func read(in *bufio.Reader, path string) (one answer, last bool, err error) {
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		return answer{}, true, err
	}
	most := int64(MaxAnswer)
	sift := siftOf(path)
	if path == clustersPath || path == clientsPath || sift != nil {
		most = MaxCounters
	}
	limited, whole := &io.LimitedReader{R: response.Body, N: most + 1}, true
	switch {
	case response.StatusCode != http.StatusOK:
		_, err = io.Copy(io.Discard, limited)
		one.err = fmt.Errorf("reading %s: it answered %d", path, response.StatusCode)
	case path == clustersPath:
		if one.upstreams, one.err = readClusters(limited); one.err != nil {
			whole = false // parsing ended early
		}
	case sift != nil:
		if one.raw, whole, one.err = sift(limited); one.err != nil {
			what := "parsing the config dump"
			if path == certsPath {
				what = "reading " + certsPath
			}
			one.raw, one.err, whole = nil, fmt.Errorf("%s: %w", what, one.err), false
		}
	default:
		one.raw, err = io.ReadAll(limited)
	}
	switch {
	case limited.N <= 0:
		return answer{}, true, fmt.Errorf("the answer is larger than %d bytes", most)
	case err != nil:
		return answer{}, true, err
	case !whole:
		return one, true, nil
	}
	return one, response.Close, response.Body.Close()
}
