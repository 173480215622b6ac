package plugin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestOneClusterHangs: an API server that takes connections and says nothing is named, and
// keeps nobody from the others.
func TestOneClusterHangs(t *testing.T) {
	ended := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ended }))
	defer hangs.Close()
	defer close(ended)
	var asked atomic.Int32
	answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusForbidden)
	}))
	defer answers.Close()
	file := filepath.Join(t.TempDir(), "config")
	config := fmt.Sprintf(`{apiVersion: v1, kind: Config, clusters: [{name: h, cluster: {server: %q}}, {name: a, cluster: {server: %q}}], contexts: [{name: east, context: {cluster: h}}, {name: west, context: {cluster: a}}]}`, hangs.URL, answers.URL)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	streams := genericiooptions.NewTestIOStreamsDiscard()
	c := newCluster(streams)
	c.flags.KubeConfig = &file
	o := certsOptions{contexts: []string{"east", "west"}, patience: 300 * time.Millisecond}
	o.meshFlags = defaultOptions().meshFlags
	looks := o.everywhere(t.Context(), c, streams)
	if err := looks[0].err; err == nil || !strings.Contains(err.Error(), hangs.URL+" gives no answer within 300ms") {
		t.Errorf("of the one that hangs: %v", err)
	}
	if asked.Load() < 2 {
		t.Errorf("the other was asked %d times: %v", asked.Load(), looks[1].err)
	}
}
