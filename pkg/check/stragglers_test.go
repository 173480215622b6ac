package check_test

import (
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
