package plugin_test

import (
	"os"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/plugin"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Whoever types something wrong, or has no cluster, gets one error, a hint and the exit
// code of docs/exit-codes.md from every command, and nothing on stdout.
func TestEveryCommandToAStranger(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := saveMesh("whole"); err != nil {
		t.Fatal(err)
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"key.txt": identity.String() + "\n", "config": closedCluster} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca := []string{"--root", "root.pem", "--ca-cert", "ca.pem", "--ca-key", "ca-key.pem"}
	needs := map[string][]string{
		"plan": ca, "rehearse": ca, "rotate": ca,
		"backup": {"--seal-to", identity.Recipient().String(), "--identity", "key.txt", "--sealed-file", "ca.age"},
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	refused := func(code int, word string, args ...string) {
		t.Helper()
		r := meshca("", args...)
		if r.code != code || r.out != "" || strings.Count(r.err, "error: ") != 1 || !strings.Contains(r.err, "\nhint: ") || !strings.Contains(r.err, word) {
			t.Errorf("%v: exit %d, not %d with %q: %s%s", args, r.code, code, word, r.out, r.err)
		}
	}
	everyCommand(plugin.NewRoot(genericiooptions.NewTestIOStreamsDiscard()), func(cmd *cobra.Command) {
		path := strings.Fields(strings.TrimPrefix(cmd.CommandPath(), "kubectl meshca"))
		with := func(args ...string) []string { return append(append([]string{}, path...), args...) }
		if r := meshca("", with("--help")...); r.code != plugin.ExitOK || r.err != "" || !strings.Contains(r.out, "Usage:") {
			t.Errorf("%v --help: exit %d: %s", path, r.code, r.err)
		}
		if cmd.Name() == "help" {
			return
		}
		refused(plugin.ExitUsage, "unknown flag: --nonsense", with("--nonsense")...)
		if cmd.Flags().Lookup("output") != nil && cmd.Name() != "inspect" { // which names its missing file first
			refused(plugin.ExitUsage, "unknown output format", with("-o", "bogus")...)
		}
		if cmd.Flags().Lookup("dry-run") != nil {
			refused(plugin.ExitUsage, "--dry-run", with("--dry-run=maybe", "-f", "x")[:len(path)+1]...)
		}
		if cmd.Flags().Lookup("concurrency") == nil {
			return
		}
		if cmd.Name() != "wizard" {
			refused(plugin.ExitUsage, "--concurrency 0", with("--concurrency", "0")...)
		}
		if cmd.Name() == "wizard" || cmd.Name() == "restore" { // the one needs a terminal, the other a copy
			return
		}
		args := with(needs[path[0]]...)
		t.Setenv("KUBECONFIG", "config")
		refused(plugin.ExitError, "connection refused", args...)
		t.Setenv("KUBECONFIG", "none")
		refused(plugin.ExitError, "no cluster is named", args...)
	})
}
