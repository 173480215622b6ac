package plugin

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// TestP1_OlderConnections: each proxy is named with the bounds of what it holds of
// before, or that it is not known; and with what drains it.
func TestP1_OlderConnections(t *testing.T) {
	at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	up := func(total, active uint64) []proxy.Upstream {
		return []proxy.Upstream{{Cluster: "outbound|80||b", Endpoint: "10.0.0.1:80", Connections: total, Active: active}}
	}
	p := func(name string, upstreams []proxy.Upstream) mesh.Proxy {
		return mesh.Proxy{Namespace: "a", Name: name, Started: at.Add(-time.Hour), Workload: mesh.Workload{Kind: "Deployment", Name: name}, Upstreams: upstreams,
			Loaded: &proxy.Loaded{Evidence: proxy.EvidenceCerts, Contexts: []proxy.Context{{SPIFFE: "spiffe://x/ns/a/sa/b", LeafUntil: at.Add(24 * time.Hour)}}}}
	}
	file := filepath.Join(t.TempDir(), "before.json")
	before := newEnvoyReport([]mesh.Proxy{p("holds", up(5, 4)), p("drained", up(5, 4)), p("young", up(5, 4)), p("gone-endpoint", up(9, 2))}, pki.Bundle{}, at)
	raw, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := readOlder(file)
	if err != nil {
		t.Fatal(err)
	}
	young := p("young", up(50, 40))
	young.Started = at.Add(time.Minute)
	proxies := []mesh.Proxy{p("holds", up(6, 3)), p("drained", up(9, 0)), young, p("gone-endpoint", nil), p("stranger", up(3, 1))}
	now := newEnvoyReport(proxies, pki.Bundle{}, at.Add(time.Hour))
	now.older(read, proxies)
	want := map[string]string{"holds": "2 to 3", "drained": "none", "young": "none", "gone-endpoint": "0, and 2 to endpoints that have gone", "stranger": "unknown: it was not read before the change"}
	for _, item := range now.Items {
		if got := item.Older.text(); got != want[item.Name] {
			t.Errorf("%s: %q, want %q", item.Name, got, want[item.Name])
		}
		if drained := item.Older.Drain == ""; drained != (want[item.Name] == "none") {
			t.Errorf("%s: drain by %q", item.Name, item.Older.Drain)
		}
	}
	err = now.olderVerdict(read.TakenAt)
	if code, _ := codeOf(err); code != ExitFindings || !strings.Contains(err.Error(), "3 of 5 proxies") || !strings.Contains(err.Error(), "a/holds") {
		t.Errorf("the verdict: %v", err)
	}
	var out bytes.Buffer
	if err := printResult(&out, "wide", now); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"OLDER CONNECTIONS", "2 to 3", "kubectl -n a rollout restart deployment/holds"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is not in\n%s", part, out.String())
		}
	}
	quiet := newEnvoyReport(proxies[1:3], pki.Bundle{}, at.Add(time.Hour))
	quiet.older(read, proxies[1:3])
	if err := quiet.olderVerdict(at); err != nil {
		t.Errorf("none is older, and it ends with %v", err)
	}
}

// TestP1_OlderThanWhat: a file without counters answers nothing.
func TestP1_OlderThanWhat(t *testing.T) {
	for name, content := range map[string]string{"another kind": `{"apiVersion":"meshca.io/v1alpha1","kind":"Plan"}`, "no JSON": "x", "no counters": `{"apiVersion":"meshca.io/v1alpha1","kind":"EnvoyList","takenAt":"2026-11-24T00:00:00Z","items":[{"namespace":"a","name":"b"}]}`} {
		file := filepath.Join(t.TempDir(), "before.json")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readOlder(file); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}
