package plugin

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestWarningsWaitForTheScreen: what the API server warns of is told once, safe for a
// terminal, and not across the wizard's screen.
func TestWarningsWaitForTheScreen(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Warning", `299 - "would violate PodSecurity \"restricted:latest\""`)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}`)
	}))
	defer server.Close()
	var out bytes.Buffer
	c := newCluster(genericiooptions.IOStreams{ErrOut: &out})
	c.flags.APIServer = &server.URL
	kube, _, err := c.connect()
	if err != nil {
		t.Fatal(err)
	}
	release := c.warnings.hold()
	for range 2 {
		if _, err := kube.CoreV1().Namespaces().Get(t.Context(), "a", metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if out.Len() > 0 {
		t.Errorf("on the screen is %q", out.String())
	}
	release()
	const want = "warning: would violate PodSecurity \"restricted:latest\"\n"
	if out.String() != want {
		t.Errorf("told is %q", out.String())
	}
	c.warnings.HandleWarningHeader(299, "", "\x1b[2J")
	if out.String() != want+"warning: \ufffd[2J\n" {
		t.Errorf("told is %q", out.String())
	}
}
