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
	// evidenceWait is how long its last line is waited for: an istiod signs with the
	// new key before it has logged so.
	evidenceWait = 5 * time.Second
	// reloaded is that last line (istio 1.30.3 pilot/pkg/bootstrap/istio_ca.go
	// handleEvent; the same since 1.12).
	reloaded = "newly added intermediate CA"
)

// reloadWords are what istiod logs when it loads a changed CA (istio 1.30.3
// pilot/pkg/bootstrap/istio_ca.go handleEvent, security/pkg/pki/ca/ca.go; the same
// words since 1.14).
func reloadWords() []string {
	return []string{"Update Istiod cacerts", "kubernetes.io/tls secret type", reloaded, "x509 cert -", "certificates are reloaded", "Failed to update new Plug-in CA certs", "CA certs"}
}

// evidence shows what each istiod has logged of its reload. It is shown beside the
// proof and is none: without the permission, or the lines, the proof stands.
func (r *run) evidence(ctx context.Context, since time.Time) {
	pods, err := r.Kube.CoreV1().Pods(r.plan.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=istiod"})
	if err != nil {
		r.emit(Event{Kind: EventWarning, Object: "pods of istiod", Message: "their logs are not shown: " + err.Error()})
		return
	}
	until := r.Clock.Now().Add(evidenceWait)
	ctx, cancel := context.WithTimeout(ctx, 2*evidenceWait) // for all of them: a log that hangs holds up no gate
	defer cancel()
	for _, pod := range pods.Items {
		object := pod.Namespace + "/" + pod.Name
		for {
			lines, whole, err := r.logged(ctx, pod.Name, since)
			if err == nil && !whole && r.Clock.Now().Before(until) && r.pause(ctx, shortestPause) == nil {
				continue
			}
			switch {
			case err != nil:
				r.emit(Event{Kind: EventWarning, Object: object, Message: "the log of " + object + " is not shown: " + err.Error()})
			case len(lines) == 0:
				r.emit(Event{Kind: EventWarning, Object: object, Message: "the log of " + object + " says nothing of a reload; its answer is the proof"})
			}
			for _, line := range lines {
				r.emit(Event{Kind: EventEvidence, Object: object, Message: line})
			}
			break
		}
	}
}

// logged is what one istiod has logged of a reload, and whether that has ended.
func (r *run) logged(ctx context.Context, pod string, since time.Time) (lines []string, whole bool, err error) {
	from, limit := metav1.NewTime(since.Add(-time.Second)), int64(evidenceBytes)
	ctx, cancel := context.WithTimeout(ctx, evidenceWait)
	defer cancel()
	log, err := r.Kube.CoreV1().Pods(r.plan.Namespace).GetLogs(pod, &corev1.PodLogOptions{Container: "discovery", SinceTime: &from, LimitBytes: &limit}).Stream(ctx)
	if err != nil {
		return nil, false, err
	}
	defer log.Close()
	lines, whole = reloadLines(io.LimitReader(log, evidenceBytes)) // the server may pass over the limit
	return lines, whole, nil
}

// reloadLines are the lines of a log that tell of a reload, and whether the last of
// them is there.
func reloadLines(log io.Reader) (all []string, whole bool) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, evidenceBytes)
	for lines.Scan() && len(all) < evidenceLines {
		for _, word := range reloadWords() {
			if strings.Contains(lines.Text(), word) {
				all = append(all, strings.TrimSpace(lines.Text()))
				whole = whole || word == reloaded
				break
			}
		}
	}
	return all, whole
}
