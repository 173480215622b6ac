package plain_test

import (
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/internal/plain"
)

func TestSpan(t *testing.T) {
	for want, d := range map[string]time.Duration{"90 days": 2160 * time.Hour, "2 days": 71 * time.Hour, "47h": 47 * time.Hour, "12h30m": 12*time.Hour + 30*time.Minute, "4m": 4 * time.Minute, "1m5s": 65 * time.Second, "0s": 0} {
		if got := plain.Span(d); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
