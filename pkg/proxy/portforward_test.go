package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	kube, dialer := forwarding(t, config)
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

// A forward is secured as kube's requests are, by what they have loaded: the files
// are not read anew for each pod.
func TestForwardsReadNoFiles(t *testing.T) {
	var mu sync.Mutex
	presented := map[string]int{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		presented[r.Method] += len(r.TLS.PeerCertificates)
		w.WriteHeader(http.StatusForbidden)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.EnableHTTP2 = true // which the list prefers, and an upgrade cannot use
	server.StartTLS()
	defer server.Close()
	dir := t.TempDir()
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// httptest's own certificate serves for both sides.
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate := file("cert.pem", "CERTIFICATE", server.Certificate().Raw)
	config := &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAFile: certificate, CertFile: certificate, KeyFile: file("key.pem", "PRIVATE KEY", key)}}
	kube, dialer := forwarding(t, config)
	if _, err := kube.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	clear(presented)
	if _, err := dialer.DialPod(t.Context(), proxy.Pod{Namespace: "a", Name: "b"}, 15000); err == nil || strings.Contains(err.Error(), "no such file") {
		t.Fatalf("dialled with %v", err)
	}
	if presented[http.MethodGet] != 1 || presented[http.MethodPost] != 1 {
		t.Errorf("client certificates by method: %v", presented)
	}
}

// BenchmarkDial is this side's part of a forward, up to the API server's answer.
func BenchmarkDial(b *testing.B) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	}))
	defer server.Close()
	raw, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		b.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	config := &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{
		CAData: certificate, CertData: certificate, KeyData: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})}}
	_, dialer := forwarding(b, config)
	for b.Loop() {
		if _, err := dialer.DialPod(b.Context(), proxy.Pod{Namespace: "a", Name: "b"}, 15000); err == nil {
			b.Fatal("a server that upgrades nothing was dialled")
		}
	}
}

// forwarding is a client of an API server, and what dials through it.
func forwarding(t testing.TB, config *rest.Config) (kubernetes.Interface, *proxy.PortForward) {
	t.Helper()
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := proxy.NewPortForward(config, kube)
	if err != nil {
		t.Fatal(err)
	}
	return kube, dialer
}
