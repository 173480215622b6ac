package plain_test

import (
	"testing"

	"github.com/meshca/kubectl-meshca/internal/plain"
)

func TestCount(t *testing.T) {
	for want, noun := range map[string]string{"2 proxies": "proxy", "2 identities": "identity", "2 days": "day", "2 classes": "class", "2 writes": "write", "2 keys": "key"} {
		if got := plain.Count(2, noun); got != want {
			t.Errorf("%q, not %q", got, want)
		}
		if got := plain.Count(1, noun); got != "1 "+noun {
			t.Error(got)
		}
	}
}
