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
