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

// TestLoginProgram: a kubeconfig's program that logs in asks before there is a screen.
// What it says later is told on the screen, not written across it, and once more in
// whole when the screen is gone.
func TestLoginProgram(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "kubectl-meshca")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	// Its token has ended at once, so that it is asked for each request.
	script := `#!/bin/sh
echo x >> "` + dir + `/runs"
n=$(wc -l < "` + dir + `/runs" | tr -d ' ')
printf 'open https://login.example/%s\033[2J\n' "$n" >&2
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"2001-01-01T00:00:00Z"}}'
`
	login := filepath.Join(dir, "login")
	if err := os.WriteFile(login, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(dir, "config")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
"clusters":[{"name":"c","cluster":{"server":%q,"insecure-skip-tls-verify":true}}],
"users":[{"name":"u","user":{"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":%q,"interactiveMode":"IfAvailable"}}}]}`, server.URL, login)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := sit(t, program, "wizard", "--kubeconfig", kubeconfig)
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
