package plugin

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/scheme"
)

// An API server is asked for the short form, and one that has only JSON is understood.
func TestAnswersInBothForms(t *testing.T) {
	const lines = 1000
	pods := &corev1.PodList{Items: make([]corev1.Pod, lines)}
	for i := range pods.Items {
		pods.Items[i] = corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b"}}
	}
	for _, form := range []string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON} {
		t.Run(form, func(t *testing.T) {
			var accept string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				accept = r.Header.Get("Accept")
				info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), form)
				w.Header().Set("Content-Type", form)
				_ = scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion).Encode(pods, w)
			}))
			defer server.Close()
			kubeconfig := filepath.Join(t.TempDir(), "config")
			text := `{apiVersion: v1, kind: Config, current-context: a, clusters: [{name: a, cluster: {server: "` + server.URL + `"}}], contexts: [{name: a, context: {cluster: a}}]}`
			if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c := newCluster(genericiooptions.NewTestIOStreamsDiscard())
			c.flags.KubeConfig = &kubeconfig
			kube, _, err := c.connect()
			if err != nil {
				t.Fatal(err)
			}
			got, err := kube.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
			if err != nil || len(got.Items) != lines || got.Items[lines-1].Name != "b" {
				t.Fatalf("%d pods: %v", len(got.Items), err)
			}
			if want := runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON; accept != want {
				t.Errorf("asked for %q, want %q", accept, want)
			}
		})
	}
}

// TestNoContextIsChosen: operators of many clusters take the current context out of their
// kubeconfig, so that nothing goes to one by mistake. That is told, and nobody sent to look
// for an API server on localhost:8080.
func TestNoContextIsChosen(t *testing.T) {
	const clusters = `apiVersion: v1, kind: Config, clusters: [{name: a, cluster: {server: "https://a.example:6443"}}], contexts: [{name: one, context: {cluster: a}}]`
	for _, test := range []struct {
		name, config  string
		set           func(*cluster)
		host, refused string
	}{
		{"none", `{` + clusters + `}`, nil, "", "no context is chosen: the kubeconfig has no current-context"},
		{"by a flag", `{` + clusters + `}`, func(c *cluster) { *c.flags.Context = "one" }, "https://a.example:6443", ""},
		{"a cluster by a flag", `{` + clusters + `}`, func(c *cluster) { *c.flags.ClusterName = "a" }, "https://a.example:6443", ""},
		{"a server by a flag", `{` + clusters + `}`, func(c *cluster) { *c.flags.APIServer = "http://localhost:8080" }, "http://localhost:8080", ""},
		{"current", `{` + clusters + `, current-context: one}`, nil, "https://a.example:6443", ""},
		{"current, and there", `{current-context: l, clusters: [{name: l, cluster: {server: "http://localhost:8080"}}], contexts: [{name: l, context: {cluster: l}}]}`, nil, "http://localhost:8080", ""},
		{"nothing", `{}`, nil, "", "no cluster is named: there is no kubeconfig, or it is empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			kubeconfig := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(kubeconfig, []byte(test.config), 0o600); err != nil {
				t.Fatal(err)
			}
			c := newCluster(genericiooptions.NewTestIOStreamsDiscard())
			c.flags.KubeConfig = &kubeconfig
			if test.set != nil {
				test.set(c)
			}
			config, err := c.config()
			switch {
			case test.refused != "":
				if err == nil || err.Error() != test.refused {
					t.Errorf("it says %v", err)
				}
			case err != nil:
				t.Error(err)
			case config.Host != test.host:
				t.Errorf("it goes to %s, not %s", config.Host, test.host)
			}
		})
	}
}
