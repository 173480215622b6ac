package rotation

import (
	"bufio"
	"context"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// evidenceLines and evidenceBytes bound what is taken of one istiod's log.
	evidenceLines = 12
	evidenceBytes = 1 << 20
)

// reloadWords are what istiod logs when it loads a changed CA (istio 1.30.3
// pilot/pkg/bootstrap/istio_ca.go handleEvent, security/pkg/pki/ca/ca.go; the same
// words since 1.14).
func reloadWords() []string {
	return []string{"Update Istiod cacerts", "kubernetes.io/tls secret type", "newly added intermediate CA", "x509 cert -", "certificates are reloaded", "Failed to update new Plug-in CA certs", "CA certs"}
}

// evidence shows what each istiod has logged of its reload. It is shown beside the
// proof and is none: without the permission, or the lines, the proof stands.
func (r *run) evidence(ctx context.Context, since time.Time) {
	pods, err := r.Kube.CoreV1().Pods(r.plan.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=istiod"})
	if err != nil {
		r.emit(Event{Kind: EventWarning, Object: "pods of istiod", Message: "their logs are not shown: " + err.Error()})
		return
	}
	from := metav1.NewTime(since.Add(-time.Second))
	limit := int64(evidenceBytes)
	for _, pod := range pods.Items {
		object := pod.Namespace + "/" + pod.Name
		stream, err := r.Kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: "discovery", SinceTime: &from, LimitBytes: &limit}).Stream(ctx)
		if err != nil {
			r.emit(Event{Kind: EventWarning, Object: object, Message: "its log is not shown: " + err.Error()})
			continue
		}
		lines := reloadLines(stream)
		stream.Close()
		if len(lines) == 0 {
			r.emit(Event{Kind: EventWarning, Object: object, Message: "its log says nothing of a reload; its answer is the proof"})
		}
		for _, line := range lines {
			r.emit(Event{Kind: EventEvidence, Object: object, Message: line})
		}
	}
}

// reloadLines are the lines of a log that tell of a reload.
func reloadLines(log io.Reader) (all []string) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, evidenceBytes)
	for lines.Scan() && len(all) < evidenceLines {
		for _, word := range reloadWords() {
			if strings.Contains(lines.Text(), word) {
				all = append(all, strings.TrimSpace(lines.Text()))
				break
			}
		}
	}
	return all
}
