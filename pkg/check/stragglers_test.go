package check_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// TestG16_Stragglers: each kind by its own name, and none that is not there.
func TestG16_Stragglers(t *testing.T) {
	for id, spoil := range map[string]func(*mesh.Proxy){
		"straggler-spire":        func(p *mesh.Proxy) { p.SPIRE, p.FileMounted = true, true },
		"straggler-file-mounted": func(p *mesh.Proxy) { p.FileMounted = true },
		"straggler-grpc":         func(p *mesh.Proxy) { p.GRPCAgent, p.OutputCerts = true, "/var/lib/istio/data" },
		"straggler-own-roots":    func(p *mesh.Proxy) { p.OwnRoots = "/etc/ssl/corp.pem" },
		"straggler-output-certs": func(p *mesh.Proxy) { p.OutputCerts = "/out" },
		"straggler-prov-cert":    func(p *mesh.Proxy) { p.ProvCert = "/prov" },
		"straggler-job":          func(p *mesh.Proxy) { p.Workload.Kind = "Job" },
		"straggler-bare-pod":     func(p *mesh.Proxy) { p.Workload = mesh.Workload{} },
	} {
		w := newWorld(t)
		spoil(&w.s.Proxies[0])
		var found []check.Finding
		for _, f := range w.run().Findings {
			if f.Category == check.Reach && len(f.ID) > 10 && f.ID[:10] == "straggler-" {
				found = append(found, f)
			}
		}
		if len(found) != 1 || found[0].ID != id || len(found[0].Proxies()) != 1 || found[0].Hint == "" {
			t.Errorf("%s: %+v", id, found)
		}
	}
}

// TestG16_CitadelMount: what reads a Citadel's Secret without an Envoy is named, with what
// starts it anew; by subPath its files never change.
func TestG16_CitadelMount(t *testing.T) {
	w := newWorld(t)
	w.citadel()
	m := mesh.TrustMount{Namespace: "istio-system", Pod: "prometheus-1", Container: "prometheus", Path: "/etc/istio-certs", Secret: "istio.default", Workload: mesh.Workload{Kind: "Deployment", Name: "prometheus"}}
	for fixed, id := range map[bool]string{false: "citadel-mount", true: "trust-mount-fixed"} {
		m.Fixed = fixed
		w.s.TrustMounts = []mesh.TrustMount{m}
		findings := ruleOf(t, "stragglers", w.s)
		i := slices.IndexFunc(findings, func(f check.Finding) bool { return f.ID == id })
		if i < 0 || !strings.Contains(findings[i].Message, "istio.default") || !strings.Contains(findings[i].Hint, "once the Secret is renewed: kubectl -n istio-system rollout restart Deployment/prometheus") {
			t.Errorf("fixed %v: %+v", fixed, findings)
		}
	}
}
