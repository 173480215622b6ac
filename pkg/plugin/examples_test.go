package plugin_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/plugin"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// closedCluster is a kubeconfig of a cluster that nobody answers for.
const closedCluster = `apiVersion: v1
kind: Config
current-context: closed
clusters: [{name: closed, cluster: {server: "http://127.0.0.1:1"}}]
contexts:
- {name: closed, context: {cluster: closed, user: nobody}}
- {name: east, context: {cluster: closed, user: nobody}}
- {name: west, context: {cluster: closed, user: nobody}}
users: [{name: nobody}]
`

// everyCommand visits a command and all below it.
func everyCommand(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, child := range cmd.Commands() {
		everyCommand(child, visit)
	}
}

// commandLines are the command lines of this program in a text for a shell.
func commandLines(text string) (all [][]string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		for _, one := range regexp.MustCompile(`kubectl[ -]meshca [^|#;&>()]*`).FindAllString(strings.Split(line, " #")[0], -1) {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			all = append(all, words(one)[1:])
		}
	}
	return all
}

// words splits a line as a shell does, the name of the program being one word.
func words(line string) (all []string) {
	line = strings.Replace(line, "kubectl meshca", "kubectl-meshca", 1)
	for _, part := range regexp.MustCompile(`("[^"]*"|'[^']*'|[^\s"']+)+`).FindAllString(line, -1) {
		all = append(all, strings.NewReplacer(`"`, "", `'`, "").Replace(part))
	}
	return all
}

// A line of help that is copied must be taken: each is run in a folder with the files
// that it names, on a cluster that does not answer, and gets past its own flags.
func TestExamplesAreTaken(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	recipient := identity.Recipient().String()
	root := plugin.NewRoot(genericiooptions.NewTestIOStreamsDiscard())
	pages := map[string]string{"the wizard, without a terminal": ""}
	everyCommand(root, func(cmd *cobra.Command) {
		if cmd.Example == "" && cmd.Runnable() && !cmd.HasSubCommands() && cmd.Name() != "help" && cmd.Name() != "version" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		pages[cmd.CommandPath()] = cmd.Example
	})
	pages["the wizard, without a terminal"] = meshca("", "wizard").err
	for page, text := range pages {
		t.Run(page, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := saveMesh("whole"); err != nil {
				t.Fatal(err)
			}
			put := func(name string, data []byte) {
				if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for from, all := range map[string][]string{
				"root.pem":   {"new-root.pem", "root-cert.pem", "old/root-cert.pem", "new/root-cert.pem", "new-ca/root-cert.pem", "cross.pem"},
				"ca.pem":     {"new/ca-cert.pem", "ca-cert.pem", "cert-chain.pem", "signed.pem", "new-ca/ca-cert.pem", "old/ca-cert.pem"},
				"ca-key.pem": {"new/ca-key.pem", "new-ca/ca-key.pem"},
			} {
				raw, err := os.ReadFile(from)
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range all {
					put(name, raw)
				}
			}
			put("key.txt", []byte(identity.String()+"\n"))
			put("word.txt", []byte(theaterWord+"\n"))
			for _, name := range []string{"before.json", "ca.age"} { // what is in it is not for the flags to judge
				if page != "kubectl meshca backup" {
					put(name, []byte("{}\n"))
				}
			}
			put("config", []byte(closedCluster))
			t.Setenv("KUBECONFIG", "config")
			for _, args := range commandLines(text) {
				for i := range args {
					args[i] = strings.ReplaceAll(args[i], "age1...", recipient)
				}
				var out, errors bytes.Buffer
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				if args[0] == "demo" { // it would run its course
					cancel()
				}
				code := plugin.MainIn(ctx, args, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errors})
				cancel()
				if code == plugin.ExitUsage && !strings.Contains(errors.String(), "needs a terminal") && !strings.Contains(errors.String(), "there is nobody to ask") {
					t.Errorf("kubectl meshca %s: exit %d: %s", strings.Join(args, " "), code, errors.String())
				}
				if strings.Contains(errors.String(), "no such file") {
					t.Errorf("kubectl meshca %s: the test lacks a file: %s", strings.Join(args, " "), errors.String())
				}
			}
		})
	}
}
