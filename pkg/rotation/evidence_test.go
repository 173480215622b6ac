package rotation

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// The lines of an istiod that loads another CA, and others; a log without the last of them has not ended.
func TestS15_ReloadLines(t *testing.T) {
	const log = `2022-08-11T20:18:40.1Z info ads XDS: Pushing
2022-08-11T20:18:41.493247Z info Update Istiod cacerts
2022-08-11T20:18:41.493483Z info Using kubernetes.io/tls secret type for signing ca files
2022-08-11T20:18:41.716843Z info Istiod has detected the newly added intermediate CA and updated its key and certs accordingly
2022-08-11T20:18:41.717170Z info x509 cert - Issuer: "CN=istiod.istio-system.svc", Subject: "", SN: 1c43
2022-08-11T20:18:41.717256Z info Istiod certificates are reloaded
`
	lines, whole := reloadLines(strings.NewReader(log))
	if !whole || len(lines) != 5 || slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "Pushing") }) {
		t.Errorf("%v %q", whole, lines)
	}
	if lines, whole := reloadLines(strings.NewReader(log[:strings.Index(log, "Istiod has")])); whole || len(lines) != 2 {
		t.Errorf("half a reload: %v %q", whole, lines)
	}
	if lines, _ := reloadLines(strings.NewReader(strings.Repeat(log, 100))); len(lines) != evidenceLines {
		t.Errorf("%d lines", len(lines))
	}
}

// A log that does not end, or says nothing for ever, holds up nobody: it is evidence
// beside the proof.
func TestS15_EvidenceIsBounded(t *testing.T) {
	over := &atomic.Bool{}
	for name, body := range map[string]func(context.Context) io.ReadCloser{
		"silent":  func(ctx context.Context) io.ReadCloser { return silentLog{ctx} },
		"endless": func(context.Context) io.ReadCloser { return io.NopCloser(&endlessLog{over: over}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := roundTripper(func(q *http.Request) (*http.Response, error) {
					answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: q}
					if strings.HasSuffix(q.URL.Path, "/log") {
						answer.Body = body(q.Context())
						return answer, nil
					}
					answer.Body = io.NopCloser(strings.NewReader(`{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"namespace":"istio-system","name":"istiod-1"}},{"metadata":{"namespace":"istio-system","name":"istiod-2"}}]}`))
					return answer, nil
				})
				kube, err := kubernetes.NewForConfig(&rest.Config{Host: "https://cluster", Transport: transport})
				if err != nil {
					t.Fatal(err)
				}
				var said []Event
				e := &Engine{Kube: kube, Clock: wallTime{}, Emit: func(e Event) { said = append(said, e) }}
				r := e.start(&Plan{Namespace: "istio-system"})
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				began := time.Now()
				r.evidence(ctx, began)
				if took := time.Since(began); took > time.Minute || len(said) != 2 || over.Load() {
					t.Errorf("%s, read beyond the bound: %v, %v", took, over.Load(), said)
				}
			})
		})
	}
}

type wallTime struct{}

func (wallTime) Now() time.Time                         { return time.Now() }
func (wallTime) After(d time.Duration) <-chan time.Time { return time.After(d) }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// silentLog never says anything.
type silentLog struct{ ctx context.Context }

func (l silentLog) Read([]byte) (int, error) { <-l.ctx.Done(); return 0, l.ctx.Err() }
func (silentLog) Close() error               { return nil }

// endlessLog never ends, and notes who reads on for too long.
type endlessLog struct {
	n    int
	over *atomic.Bool
}

func (l *endlessLog) Read(p []byte) (int, error) {
	if l.n += len(p); l.n > 8*evidenceBytes {
		l.over.Store(true)
		return 0, io.EOF
	}
	return copy(p, bytes.Repeat([]byte("an istiod that talks\n"), len(p)/20+1)), nil
}
