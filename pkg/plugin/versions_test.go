package plugin

import (
	"bytes"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

func TestVersionVerdicts(t *testing.T) {
	envoy := func(version string) *proxy.Loaded { return &proxy.Loaded{Info: proxy.Info{Envoy: version}} }
	for name, test := range map[string]struct {
		proxy   mesh.Proxy
		verdict string
		rule    string
		code    int
	}{
		"fine":                       {mesh.Proxy{Version: "1.30.3"}, "ok", "", ExitOK},
		"a fault":                    {mesh.Proxy{Version: "1.1.4"}, "error", "mounted-certs-missed", ExitFindings},
		"a warning":                  {mesh.Proxy{Version: "1.20.0"}, "warning", "csr-root-fixed", ExitOK},
		"a builder's own suffix":     {mesh.Proxy{Version: "1.1.4-acme.1"}, "error", "mounted-certs-missed", ExitFindings},
		"its own word":               {mesh.Proxy{Loaded: &proxy.Loaded{Info: proxy.Info{Istio: "1.1.4"}}}, "error", "mounted-certs-missed", ExitFindings},
		"unknown":                    {mesh.Proxy{}, "unknown", "", ExitOK},
		"no release":                 {mesh.Proxy{Version: "latest"}, "unknown", "", ExitOK},
		"some patch of a line":       {mesh.Proxy{Version: "1.29"}, "unknown", "", ExitOK},
		"a line with a warning":      {mesh.Proxy{Version: "1.19"}, "unknown", "csr-root-fixed", ExitOK},
		"a ztunnel of one root":      {mesh.Proxy{Version: "1.25.0-rc.1", Kind: mesh.Ztunnel}, "error", "one-root-only", ExitFindings},
		"a line of ztunnels":         {mesh.Proxy{Version: "1.23", Kind: mesh.Ztunnel}, "error", "one-root-only", ExitFindings},
		"a recent Envoy":             {mesh.Proxy{Loaded: envoy("1.40.0")}, "ok", "", ExitOK},
		"an Envoy that may be older": {mesh.Proxy{Loaded: envoy("1.37.0")}, "unknown", "", ExitOK},
	} {
		t.Run(name, func(t *testing.T) {
			report := newVersionReport(&mesh.Snapshot{Proxies: []mesh.Proxy{test.proxy}})
			item := report.Items[0]
			if item.Verdict != test.verdict {
				t.Errorf("%s, want %s", item.Verdict, test.verdict)
			}
			if test.rule != "" && (len(item.Rules) == 0 || item.Rules[0].ID != test.rule) {
				t.Errorf("rules %v, want %s first", item.Rules, test.rule)
			}
			if code, _ := codeOf(report.failure()); code != test.code {
				t.Errorf("exit %d, want %d", code, test.code)
			}
		})
	}
	if code, _ := codeOf(newVersionReport(&mesh.Snapshot{}).failure()); code != ExitFindings {
		t.Errorf("an audit of nothing passed: exit %d", code)
	}
}

func TestVersionsOfIstiods(t *testing.T) {
	plane := mesh.ControlPlane{Namespace: "i", Name: "istiod", Version: "1.30.3", Settled: true}
	if items := newVersionReport(&mesh.Snapshot{ControlPlanes: []mesh.ControlPlane{plane}}).Items; len(items) != 1 || items[0].Verdict != "ok" {
		t.Errorf("a Deployment without pods: %+v", items)
	}
	plane.Replicas = []mesh.Istiod{{Pod: "one"}, {Pod: "two", Version: "1.24.4"}}
	items := newVersionReport(&mesh.Snapshot{ControlPlanes: []mesh.ControlPlane{plane}}).Items
	if items[0].Version != "1.30.3" || items[1].Verdict != "error" {
		t.Errorf("%+v", items)
	}
	// While it rolls out, the Deployment does not speak for every pod.
	plane.Settled = false
	if items := newVersionReport(&mesh.Snapshot{ControlPlanes: []mesh.ControlPlane{plane}}).Items; items[0].Verdict != "unknown" {
		t.Errorf("%+v", items[0])
	}
	plane.CA.Kind = mesh.CACitadel
	for _, row := range newVersionReport(&mesh.Snapshot{ControlPlanes: []mesh.ControlPlane{plane}}).rows(false)[1:3] {
		if row[2] != "citadel" {
			t.Errorf("a Citadel is called %s", row[2])
		}
	}
}

// TestReportsEscape: nothing that the cluster says reaches a terminal as it is.
func TestReportsEscape(t *testing.T) {
	evil := "\x1b]0;x\x07\nrow"
	s := &mesh.Snapshot{TakenAt: clock, Gaps: []mesh.Gap{{Part: evil, Error: evil}}, Proxies: []mesh.Proxy{{Namespace: "a", Name: evil, Image: evil, Version: evil, Error: evil, ReachWhy: evil}},
		ControlPlanes: []mesh.ControlPlane{{Namespace: evil, Name: evil, CA: mesh.CASource{Why: evil, Owners: []string{evil}, Exists: true}}}}
	for _, format := range outputs() {
		for _, r := range []result{newVersionReport(s), newCheckReport(s, check.DefaultPolicy(), pki.SeverityError)} {
			var out bytes.Buffer
			if err := printResult(&out, format, r); err != nil {
				t.Fatal(err)
			}
			if strings.ContainsAny(out.String(), "\x1b\x07") || strings.Contains(out.String(), "\nrow") {
				t.Errorf("-o %s of %T: %q", format, r, out.String())
			}
		}
	}
}
