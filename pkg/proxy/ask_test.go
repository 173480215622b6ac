package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// script is an admin port: it reads a number of requests, and then says its words,
// connection after connection.
type script struct {
	turns []turn
	asked [][]string
}

type turn struct {
	requests int
	words    string
	stay     bool // silent, instead of closing
	// atMost is how many requests may wait at once, 0 for any number: an Envoy closes
	// after the second answer where a third request is there already (seen on 1.40).
	atMost int
	// then follows on the same connection.
	then *turn
}

func (s *script) DialPod(context.Context, proxy.Pod, int) (net.Conn, error) {
	if len(s.asked) == len(s.turns) {
		return nil, fmt.Errorf("no more than %d connections", len(s.turns))
	}
	now := s.turns[len(s.asked)]
	s.asked = append(s.asked, nil)
	mine := &s.asked[len(s.asked)-1]
	ours, theirs := net.Pipe()
	go func() {
		in := bufio.NewReader(theirs)
		for now := &now; now != nil; now = now.then {
			for range now.requests {
				request, err := http.ReadRequest(in)
				if err != nil {
					break
				}
				*mine = append(*mine, request.URL.Path)
			}
			_, _ = io.WriteString(theirs, now.words)
			if now.atMost > 0 && in.Buffered() > 0 {
				break
			}
			if now.stay {
				return
			}
		}
		_ = theirs.Close()
	}()
	return ours, nil
}

func said(status int, body string, more ...string) string {
	return fmt.Sprintf("HTTP/1.1 %d x\r\n%sContent-Length: %d\r\n\r\n%s", status, strings.Join(more, ""), len(body), body)
}

func TestReadAsksAllAtOnce(t *testing.T) {
	leaf, root := certificate(t), certificate(t)
	whole := string(dump(leaf.PEM(), root.PEM()))
	const certs, info, shut = `{"certificates":[]}`, `{"version":"abc/1.40.0/Clean/RELEASE/BoringSSL"}`, "Connection: close\r\n"
	chunked := fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(whole), whole)
	for name, test := range map[string]struct {
		turns    []turn
		asked    [][]string
		info     bool
		err      string // of the whole
		contexts string // of what confirms
	}{
		"both before the first answer": {
			turns: []turn{{requests: 2, words: chunked + said(200, certs)}},
			asked: [][]string{{"/config_dump", "/certs"}},
		},
		"closed after the first answer": {
			turns: []turn{{requests: 2, words: said(200, whole, shut)}, {requests: 1, words: said(200, certs, shut)}},
			asked: [][]string{{"/config_dump", "/certs"}, {"/certs"}},
		},
		"no certs, and the rest all the same": {
			turns: []turn{{requests: 2, words: said(200, whole) + said(404, "no"), then: &turn{requests: 1, words: said(200, info)}}},
			asked: [][]string{{"/config_dump", "/certs", "/server_info"}}, info: true, contexts: "reading /certs: it answered 404",
		},
		"as an Envoy does, of whom no more than two are asked at once": {
			turns: []turn{{requests: 2, words: said(200, whole) + said(200, certs), atMost: 2, then: &turn{requests: 1, words: said(200, info)}}},
			asked: [][]string{{"/config_dump", "/certs", "/server_info"}}, info: true,
		},
		"closed without a word after each answer": {
			turns: []turn{{requests: 2, words: said(200, whole)}, {requests: 2, words: said(200, certs)}, {requests: 1, words: said(200, info)}},
			asked: [][]string{{"/config_dump", "/certs"}, {"/certs", "/server_info"}, {"/server_info"}}, info: true,
		},
		"no dump": {
			turns: []turn{{requests: 2, words: said(503, "") + said(200, certs)}},
			asked: [][]string{{"/config_dump", "/certs"}}, err: "it answered 503",
		},
		"cut in the first answer": {
			turns: []turn{{requests: 2, words: said(200, whole)[:200]}},
			asked: [][]string{{"/config_dump", "/certs"}}, err: "unexpected EOF",
		},
		"cut after the first answer, and again": {
			turns: []turn{{requests: 2, words: said(200, whole)}, {requests: 1, words: said(200, certs)[:45]}},
			asked: [][]string{{"/config_dump", "/certs"}, {"/certs"}}, contexts: "reading /certs: unexpected EOF",
		},
		"gone after the first answer": {
			turns: []turn{{requests: 2, words: said(200, whole)}},
			asked: [][]string{{"/config_dump", "/certs"}}, contexts: "reading /certs: no more than 1 connections",
		},
		"mute after the first answer": {
			turns: []turn{{requests: 2, words: said(200, whole), stay: true}},
			asked: [][]string{{"/config_dump", "/certs"}}, contexts: "reading /certs: no answer within 10s",
		},
		"more than was asked for": {
			turns: []turn{{requests: 2, words: said(200, whole) + said(200, certs) + said(200, "x")}},
			asked: [][]string{{"/config_dump", "/certs"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				admin := &script{turns: test.turns}
				reader := &proxy.Reader{Dialer: admin, Now: time.Now}
				var result proxy.Result
				reader.Read(t.Context(), []proxy.Target{{Info: test.info}}, func(r proxy.Result) { result = r })
				synctest.Wait()
				if !slices.EqualFunc(admin.asked, test.asked, slices.Equal) {
					t.Errorf("asked %q, want %q", admin.asked, test.asked)
				}
				switch {
				case test.err != "":
					if result.Err == nil || !strings.Contains(result.Err.Error(), test.err) {
						t.Errorf("error %v, want %q", result.Err, test.err)
					}
				case result.Err != nil:
					t.Errorf("error %v", result.Err)
				case result.Loaded.ContextsError != test.contexts:
					t.Errorf("contexts: %q, want %q", result.Loaded.ContextsError, test.contexts)
				case test.info && result.Loaded.Info.Envoy == "":
					t.Error("its release was not read")
				}
			})
		})
	}
}
