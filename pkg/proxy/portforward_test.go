package proxy_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// A forward is a connection of its own each time: it resumes the session that the
// list of pods began, whichever way it is dialled.
func TestForwardsResumeTheSessionOfTheList(t *testing.T) {
	var mu sync.Mutex
	resumed := map[string][]bool{}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasSuffix(r.URL.Path, "/portforward") {
			resumed[r.Method] = append(resumed[r.Method], r.TLS.DidResume)
			w.WriteHeader(http.StatusForbidden) // no upgrade, neither by WebSocket nor by SPDY
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"PodList","apiVersion":"v1","items":[]}`))
	}))
	defer server.Close()
	config := &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := proxy.NewPortForward(config, kube)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kube.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := dialer.DialPod(t.Context(), proxy.Pod{Namespace: "a", Name: "b"}, 15000); err == nil {
			t.Fatal("a server that upgrades nothing was dialled")
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if got := resumed[method]; len(got) != 2 || !got[0] || !got[1] {
			t.Errorf("%s: resumed %v, want two of two", method, got)
		}
	}
}
