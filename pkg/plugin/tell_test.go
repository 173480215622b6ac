package plugin

import (
	"bytes"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestHintsQuoteTheCluster: who holds a Lease is what somebody has written there. It is
// in a hint that is read on a terminal and copied into a shell.
func TestHintsQuoteTheCluster(t *testing.T) {
	for identity, want := range map[string]string{
		"ann@laptop/41":                         "--take-over ann@laptop/41",
		"ann'; reboot; '":                       `--take-over 'ann'\''; reboot; '\'''`,
		"ann\x1b]0;owned\a\x1b[2J\u202e@host/1": "--take-over 'ann\ufffd]0;owned\ufffd\ufffd[2J\ufffd@host/1'",
	} {
		err := outcome(&rotation.HeldError{Lease: "istio-system/meshca", State: rotation.LeaseState{Holder: rotation.ParseHolder(identity)}})
		_, hint := codeOf(err)
		var out bytes.Buffer
		tell(genericiooptions.IOStreams{ErrOut: &out}, err.Error(), hint)
		if strings.ContainsAny(out.String(), "\x1b\a\u202e") || !strings.Contains(out.String(), want) {
			t.Errorf("it says %q, not %q", out.String(), want)
		}
	}
}
