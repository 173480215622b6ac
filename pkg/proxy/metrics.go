package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
)

// maxSeconds is more than any certificate lives, and less than a time.Duration holds.
const maxSeconds = float64(math.MaxInt64 / int64(time.Second))

// ReadLeafEnd reads when a proxy's leaf ends from its agent's metrics, through the
// API server's proxy to the pod: no port-forward, and no proof of who signed it.
func ReadLeafEnd(ctx context.Context, kube kubernetes.Interface, pod Pod, statusPort int, now time.Time) (time.Time, error) {
	raw, err := kube.CoreV1().Pods(pod.Namespace).ProxyGet("http", pod.Name, strconv.Itoa(statusPort), "/stats/prometheus", nil).DoRaw(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading metrics of %s: %w", pod, err)
	}
	seconds, err := parseLeafSeconds(raw)
	if err != nil {
		return time.Time{}, fmt.Errorf("metrics of %s: %w", pod, err)
	}
	return now.Add(time.Duration(seconds * float64(time.Second))), nil
}

// parseLeafSeconds finds istio_agent_cert_expiry_seconds. Agents before 1.21.6 and
// 1.22.4 may leave a stale series beside the right one, which is the longest.
func parseLeafSeconds(raw []byte) (float64, error) {
	longest, found := 0.0, false
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "istio_agent_cert_expiry_seconds{")
		if !ok {
			continue
		}
		_, value, _ := strings.Cut(text, "} ")
		seconds, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		// NaN compares as neither, and what no time.Duration holds would become any time.
		if err != nil || math.IsNaN(seconds) || math.Abs(seconds) >= maxSeconds {
			return 0, fmt.Errorf("istio_agent_cert_expiry_seconds is %q", value)
		}
		if !found || seconds > longest {
			longest, found = seconds, true
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	if !found {
		return 0, fmt.Errorf("istio_agent_cert_expiry_seconds is missing")
	}
	return longest, nil
}
