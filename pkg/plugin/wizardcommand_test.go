package plugin

import (
	"io"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/tui"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestPrintedCommands: what the wizard says to run is what it was told, for a shell,
// and lets nobody in.
func TestPrintedCommands(t *testing.T) {
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard}
	cluster := newCluster(streams)
	root := newRoot(cluster, streams)
	cmd, rest, err := root.Find([]string{"wizard"})
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--plain", "--context", "prod eu", "-i", "mesh", "--token", "letmein", "--as-group", "a,b", "--as-group", "it's", "--trust-file-wait", "0"}
	if err := cmd.ParseFlags(append(rest, args...)); err != nil {
		t.Fatal(err)
	}
	b := newWizardBackend(cmd, cluster, defaultOptions())
	const flags = ` --as-group=a,b --as-group='it'\''s' --context='prod eu' --istio-namespace=mesh --trust-file-wait=0s`
	b.accepted = map[string]string{"web/front-0": "it is drained"}
	const accept = ` --accept 'web/front-0=it is drained'`
	for _, c := range []struct {
		choice tui.Choice
		want   string
	}{
		{tui.Choice{Resume: true, Reason: tui.Move}, "kubectl meshca rotate" + flags + accept},
		{tui.Choice{Resume: true, Back: true, Strategy: rotation.HotBundle}, "kubectl meshca rollback" + flags + accept},
		{tui.Choice{Reason: tui.Compromised, Make: true, SealedFile: "a b.age", Passphrase: "hunter2"},
			"kubectl meshca rotate" + flags + accept + " --new-ca --reason compromised --seal-to passphrase --sealed-file 'a b.age'"},
		{tui.Choice{Reason: tui.Expiring, Root: "r.pem", Cert: "c.pem", Key: "k.pem", Strategy: rotation.CrossSign, OldRootKey: "o.pem", SealedFile: "a.age", Recipient: "age1abcdefghij"},
			"kubectl meshca rotate" + flags + accept + " --root r.pem --ca-cert c.pem --ca-key k.pem --old-root-key o.pem --strategy cross-sign --seal-to age1abcdefghij --no-trial cdefghij --sealed-file a.age"},
		{tui.Choice{Reason: tui.Expiring, Renew: true, SealedFile: "a.age", Passphrase: "hunter2"},
			"kubectl meshca rotate" + flags + accept + " --strategy same-key --seal-to passphrase --sealed-file a.age"},
	} {
		got := b.Command(c.choice)
		if got != c.want {
			t.Errorf("it says\n%s\nnot\n%s", got, c.want)
		}
		if strings.Contains(got, "letmein") || strings.Contains(got, "hunter2") {
			t.Errorf("a secret is printed: %s", got)
		}
	}
	// Every flag of the wizard is one that the printed commands understand.
	for _, name := range []string{"rotate", "rollback"} {
		other, _, err := root.Find([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.ParseFlags([]string{"--as-group=a", "--context=x", "--istio-namespace=m", "--trust-file-wait=0s", "--accept", "a/b=c"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
