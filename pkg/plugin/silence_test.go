package plugin

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
)

// silentCluster is an API server that answers as it is told, and not as it should, and the
// client of one that may say nothing for so long.
func silentCluster(t *testing.T, silence time.Duration, answer http.HandlerFunc) kubernetes.Interface {
	t.Helper()
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, r)
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(over) })
	kubeconfig := filepath.Join(t.TempDir(), "config")
	text := `{apiVersion: v1, kind: Config, current-context: a, clusters: [{name: a, cluster: {server: "` + server.URL + `"}}], contexts: [{name: a, context: {cluster: a}}]}`
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCluster(genericiooptions.NewTestIOStreamsDiscard())
	c.flags.KubeConfig, c.silence = &kubeconfig, silence
	kube, _, err := c.connect()
	if err != nil {
		t.Fatal(err)
	}
	return kube
}

// A request ends that nothing is heard of, also in the middle of an answer; a long answer
// that goes on does not.
func TestSilence(t *testing.T) {
	const silence = 300 * time.Millisecond
	for name, row := range map[string]struct {
		answer http.HandlerFunc
		silent bool
	}{
		"never":   {func(http.ResponseWriter, *http.Request) {}, true},
		"midways": {func(w http.ResponseWriter, _ *http.Request) { say(w, `{"kind":"PodList","apiVersion":"v1",`) }, true},
		"slowly": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "60")
			say(w, `{"kind":"PodList","apiVersion":"v1"`)
			for range 8 {
				time.Sleep(silence / 3)
				say(w, "   ")
			}
			say(w, "}")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := silentCluster(t, silence, row.answer).CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
			var network net.Error
			if silent := errors.As(err, &network) && network.Timeout() && strings.Contains(err.Error(), "no answer within 300ms"); silent != row.silent || err != nil && !silent {
				t.Errorf("%v", err)
			}
			if took := time.Since(began); took > 20*silence {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func say(w http.ResponseWriter, text string) {
	_, _ = w.Write([]byte(text))
	w.(http.Flusher).Flush() //nolint:forcetypeassert // net/http's own
}

// An API server that accepts connections and never answers holds no run beyond its time:
// it ends as where there is none, with the mesh as it stands.
func TestRunEndsInSilence(t *testing.T) {
	kube := silentCluster(t, 200*time.Millisecond, func(http.ResponseWriter, *http.Request) {})
	engine := &rotation.Engine{Kube: kube, Clock: wallClock{}, Holder: "a@b/1", Timeout: time.Second, Emit: func(rotation.Event) {}}
	ended := make(chan error, 1)
	go func() {
		ended <- engine.Run(t.Context(), &rotation.Plan{ID: "x", Namespace: "istio-system", Secret: "cacerts", Layout: mesh.CAPlugged}, nil)
	}()
	select {
	case err := <-ended:
		if code, hint := codeOf(outcome(err)); code != ExitTimeout || !strings.Contains(hint, "the mesh is safe") {
			t.Errorf("exit %d: %v", code, err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it is held")
	}
}
