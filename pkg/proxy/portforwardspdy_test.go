package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// Where many pods are dialled at once by SPDY, as where a role allows "create" alone,
// each answers for itself: what one proxy says is never taken for another's.
func TestForwardsBySPDYAreNotMixedUp(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
			return
		}
		name := strings.Split(r.URL.Path, "/")[6] // /api/v1/namespaces/a/pods/NAME/portforward
		connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, sent <-chan struct{}) error {
			go func() {
				<-sent
				if stream.Headers().Get("streamType") == "data" {
					_, _ = io.WriteString(stream, name)
				}
				_ = stream.Close()
			}()
			return nil
		})
		if connection != nil {
			<-connection.CloseChan()
		}
	}))
	defer server.Close()
	config := &rest.Config{Host: server.URL}
	_, dialer := forwarding(t, config)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			name := "pod-" + string(rune('a'+i%26)) + string(rune('a'+i/26))
			connection, err := dialer.DialPod(t.Context(), proxy.Pod{Namespace: "a", Name: name}, 15000)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			defer connection.Close()
			if said, err := io.ReadAll(connection); err != nil || string(said) != name {
				t.Errorf("%s was dialled, and %q answered: %v", name, said, err)
			}
		})
	}
	wg.Wait()
}
