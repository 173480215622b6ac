package plugin

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
)

func TestArgs(t *testing.T) {
	for _, test := range []struct{ argv, want []string }{
		{[]string{"/usr/bin/kubectl-meshca", "check", "-A"}, []string{"check", "-A"}},
		{[]string{"kubectl_complete-meshca", "ver"}, []string{"__complete", "ver"}},
		{[]string{"/opt/bin/kubectl_complete-meshca.exe", "check", ""}, []string{"__complete", "check", ""}},
		{[]string{"kubectl-meshca"}, []string{}},
		{nil, nil},
	} {
		if got := Args(test.argv); !slices.Equal(got, test.want) {
			t.Errorf("%q means %q, not %q", test.argv, got, test.want)
		}
	}
}

func TestValuesFromTheCluster(t *testing.T) {
	meta := func(namespace, name string, labels map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}
	}
	kube := fake.NewClientset(
		&corev1.Namespace{ObjectMeta: meta("", "pay", nil)}, &corev1.Namespace{ObjectMeta: meta("", "web", nil)},
		&corev1.Pod{ObjectMeta: meta("pay", "till-1", nil), Status: corev1.PodStatus{Phase: corev1.PodRunning}},
		&corev1.Pod{ObjectMeta: meta("pay", "done", nil), Status: corev1.PodStatus{Phase: corev1.PodSucceeded}},
		&appsv1.Deployment{ObjectMeta: meta("istio-system", "istiod-b", map[string]string{"app": "istiod", "istio.io/rev": "b"})},
		&appsv1.Deployment{ObjectMeta: meta("istio-system", "other", map[string]string{"istio.io/rev": "c"})},
	)
	for _, test := range []struct {
		values lister
		start  string
		want   []string
	}{
		{namespaces, "", []string{"pay", "web"}},
		{namespaces, "w", []string{"web"}},
		{revisions, "", []string{"b"}},
		{pods, "p", []string{"pay/"}},
		{pods, "pay/", []string{"pay/till-1="}},
	} {
		all, err := test.values(t.Context(), kube, test.start)
		if err != nil {
			t.Fatal(err)
		}
		if got := starting(all, test.start); !slices.Equal(got, test.want) {
			t.Errorf("%q completes to %q, not %q", test.start, got, test.want)
		}
	}
	if got := starting([]string{"a\x1b[31m", "a"}, ""); !slices.Equal(got, []string{"a"}) {
		t.Errorf("control characters reach the shell: %q", got)
	}
}

// TestSeveralContexts: of a list of contexts the last is completed, with what the list
// has not got.
func TestSeveralContexts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(`{"apiVersion":"v1","kind":"Config","contexts":[{"name":"east","context":{}},{"name":"eden","context":{}},{"name":"west","context":{}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for start, want := range map[string]string{"": "east eden west", "e": "east eden", "east,": "east,eden east,west", "east,e": "east,eden", "east,x": ""} {
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &bytes.Buffer{}, ErrOut: io.Discard}
		if code := Main([]string{"__complete", "certs", "--kubeconfig", file, "--contexts", start}, streams); code != ExitOK {
			t.Fatalf("%q: exit code %d", start, code)
		}
		lines := strings.Fields(streams.Out.(*bytes.Buffer).String())
		if got := strings.Join(lines[:len(lines)-1], " "); got != want || lines[len(lines)-1] != ":4" { // no files
			t.Errorf("%q completes to %q", start, lines)
		}
	}
}
