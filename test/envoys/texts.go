package main

import (
	"context"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// texts are the same root, written as PEM in ways that its readers do not agree on.
func texts(now time.Time) (map[string]string, error) {
	root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "root"}, Now: now})
	if err != nil {
		return nil, err
	}
	plain := string(root.Cert.PEM())
	lines := strings.Split(strings.TrimSpace(plain), "\n")
	last := len(lines) - 1
	body := strings.Join(lines[1:last], "")
	with := func(at int, more ...string) string {
		return strings.Join(slices.Concat(lines[:at], more, lines[at:]), "\n") + "\n"
	}
	wide := func(n int, before ...string) string {
		all := slices.Concat(lines[:1], before)
		for rest := body; rest != ""; rest = rest[min(n, len(rest)):] {
			all = append(all, rest[:min(n, len(rest))])
		}
		return strings.Join(append(all, lines[last]), "\n") + "\n"
	}
	return map[string]string{
		"plain": plain, "CRLF": strings.ReplaceAll(plain, "\n", "\r\n"), "text before": "Bag Attributes\n    friendlyName: x\n" + plain, "no newline at the end": strings.TrimSpace(plain),
		"a blank line first": with(1, ""), "a blank line within": with(3, ""), "a blank line last": with(last, ""), "a line of spaces": with(3, "   "),
		"a header": with(1, "Comment: x", ""), "an encrypted one's header": with(1, "Proc-Type: 4,ENCRYPTED", ""),
		"one line": wide(len(body)), "76 columns": wide(76), "76 columns behind a blank line": wide(76, ""), "253 columns": wide(253),
		"the second has a blank line": plain + with(3, ""),
	}, nil
}

// readAlike holds what the verifier says of such texts against whether each Envoy loads
// them: none that one of them does not load may be said to be read alike.
func readAlike(ctx context.Context, binaries []string, now time.Time) int {
	all, err := texts(now)
	if err != nil {
		fmt.Fprintln(os.Stderr, "envoys:", err)
		return 1
	}
	code, refusals, strict := 0, 0, []string{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		bundle, err := pki.ParseBundle([]byte(all[name]))
		alike := err == nil && bundle.ReadsAlike() == nil
		loaded := true
		for _, binary := range binaries {
			ok, err := loads(ctx, binary, all[name])
			if err != nil {
				fmt.Fprintln(os.Stderr, "envoys:", err)
				return 1
			}
			loaded = loaded && ok
		}
		switch {
		case alike && !loaded:
			code = 1
			fmt.Printf("WRONG: a root's text (%s) is said to be read alike, and an Envoy does not load it\n", name)
		case !loaded:
			refusals++
		case !alike:
			strict = append(strict, name)
		}
	}
	fmt.Printf("%d texts of one root: %d that an Envoy does not load, each named; named though all load it: %s\n", len(all), refusals, strings.Join(strict, ", "))
	if refusals == 0 {
		fmt.Println("WRONG: the Envoys load every text: nothing is shown")
		return 1
	}
	return code
}

// loads reports whether an Envoy takes a text as the roots that it trusts.
func loads(ctx context.Context, binary, text string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "envoys")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	socket := m{"name": "tls", "typed_config": typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", m{"common_tls_context": m{"validation_context": m{"trusted_ca": inline(text)}}})}
	config, err := json.Marshal(m{"static_resources": m{"clusters": []m{{"name": "c", "type": "STATIC", "load_assignment": m{"cluster_name": "c"}, "transport_socket": socket}}}})
	if err != nil {
		return false, err
	}
	file := filepath.Join(dir, "envoy.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return false, err
	}
	said, err := exec.CommandContext(ctx, binary, "--mode", "validate", "-c", file).CombinedOutput()
	switch {
	case err == nil:
		return true, nil
	case strings.Contains(string(said), "Failed to load trusted CA"):
		return false, nil
	}
	return false, fmt.Errorf("%s judging a text: %w: %s", binary, err, lastLine(said))
}
