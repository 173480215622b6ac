package plugin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// longestSilence is how long the API server may say nothing of a request: it ends those
// that are no watch after a minute itself (kube-apiserver, --request-timeout). One that
// accepts connections and never answers would hold a run for ever, with its Lease.
const longestSilence = 70 * time.Second

// silenceError is what a request ends with that nothing was heard of. It is of the way to
// the API server, and not of what was asked: the engine tries again until its time is over.
type silenceError struct{ after time.Duration }

func (s silenceError) Error() string   { return fmt.Sprintf("no answer within %s", s.after) }
func (s silenceError) Timeout() bool   { return true }
func (s silenceError) Temporary() bool { return true }

// bounded ends requests of which nothing is heard for so long: neither an answer, nor more
// of one that is long.
type bounded struct {
	silence time.Duration
	next    http.RoundTripper
}

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	silent := silenceError{b.silence}
	timer := time.AfterFunc(b.silence, func() { cancel(silent) })
	response, err := b.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		timer.Stop()
		defer cancel(nil)
		return nil, heard(ctx, err)
	}
	timer.Reset(b.silence)
	response.Body = &boundedBody{ReadCloser: response.Body, ctx: ctx, cancel: cancel, timer: timer, silence: b.silence}
	return response, nil
}

// WrappedRoundTripper lets client-go find the transport below.
func (b bounded) WrappedRoundTripper() http.RoundTripper { return b.next }

// heard prefers the silence to what it did to a connection.
func heard(ctx context.Context, err error) error {
	if silent, ok := context.Cause(ctx).(silenceError); ok { //nolint:errorlint // it is made here
		return silent
	}
	return err
}

// boundedBody is an answer that may be long, and must go on.
type boundedBody struct {
	io.ReadCloser
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	silence time.Duration
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.timer.Stop()
		if err != io.EOF { //nolint:errorlint // a reader's own word
			err = heard(b.ctx, err)
		}
		return n, err
	}
	b.timer.Reset(b.silence)
	return n, nil
}

func (b *boundedBody) Close() error {
	b.timer.Stop()
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}
