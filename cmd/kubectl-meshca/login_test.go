//go:build unix

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// behindLogin is a kubeconfig whose program that logs in is a script, for a server that
// has nothing.
func behindLogin(t *testing.T, script, mode string) (kubeconfig string) {
	t.Helper()
	dir := t.TempDir()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	login := filepath.Join(dir, "login")
	if err := os.WriteFile(login, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	kubeconfig = filepath.Join(dir, "config")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
"clusters":[{"name":"c","cluster":{"server":%q,"insecure-skip-tls-verify":true}}],
"users":[{"name":"u","user":{"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":%q,"interactiveMode":%q}}}]}`, server.URL, login, mode)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

func built(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "kubectl-meshca")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return program
}

// TestLoginProgramAsks: what a kubeconfig's program asks is answered on the plain
// terminal, before the wizard. Later it has no keys to read: those are the wizard's, and
// what ends its failure is named.
func TestLoginProgramAsks(t *testing.T) {
	program := built(t)
	for _, c := range []struct{ name, mode, plain string }{
		{"screen", "IfAvailable", ""}, {"screen, always", "Always", ""}, {"plain lines", "IfAvailable", "--plain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			// Its token has ended at once, so that it is asked for each request.
			script := `#!/bin/sh
[ -t 0 ] || { echo nobody answers >&2; exit 1; }
echo x >> "` + dir + `/asked"
echo "passphrase of the key:" >&2
read -r word
[ "$word" = opensesame ] || exit 1
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"2001-01-01T00:00:00Z"}}'
`
			args := []string{"wizard", "--kubeconfig", behindLogin(t, script, c.mode)}
			if c.plain != "" {
				args = append(args, c.plain)
			}
			o := sit(t, program, args...)
			o.sees("passphrase of the key:", "opensesame\n")
			o.sees("log in on a plain terminal, where its program can ask", "")
			o.sees("a rotation goes on from where it stands", "")
			if c.plain == "" {
				o.sees("r looks again", "q")
			}
			o.ends(1)
			if asked, err := os.ReadFile(filepath.Join(dir, "asked")); err != nil || len(asked) != len("x\n") {
				t.Errorf("it has asked %d times, %v", len(asked)/2, err)
			}
		})
	}
}

// TestLoginProgram: a kubeconfig's program that logs in asks before there is a screen.
// What it says later is told on the screen, not written across it, and once more in
// whole when the screen is gone.
func TestLoginProgram(t *testing.T) {
	dir, program := t.TempDir(), built(t)
	// Its token has ended at once, so that it is asked for each request.
	script := `#!/bin/sh
echo x >> "` + dir + `/runs"
n=$(wc -l < "` + dir + `/runs" | tr -d ' ')
printf 'open https://login.example/%s\033[2J\n' "$n" >&2
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"2001-01-01T00:00:00Z"}}'
`
	o := sit(t, program, "wizard", "--kubeconfig", behindLogin(t, script, "IfAvailable"))
	o.sees("login program says (esc hides it): open https://login.example/", "")
	o.sees("r looks again", "q")
	o.ends(1)
	const screen, gone = "\x1b[?1049h", "\x1b[?1049l"
	before, rest, drawn := strings.Cut(o.text(), screen)
	shown, after, left := strings.Cut(rest, gone)
	if !drawn || !left {
		t.Fatalf("there was no screen, or it was not left:\n%q", o.text())
	}
	if !strings.Contains(before, "open https://login.example/1\x1b[2J") { // as the program wrote it
		t.Errorf("it did not ask before the screen: %q", before)
	}
	if strings.Contains(shown, "/2\x1b[2J") {
		t.Errorf("it writes across the screen: %q", shown)
	}
	if !strings.Contains(after, "the kubeconfig's login program said:") || !strings.Contains(after, "open https://login.example/2") || strings.Contains(after, "\x1b[2J") {
		t.Errorf("what it said is lost, or escapes: %q", after)
	}
}
