package scenario_test

import (
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
)

// auditRows are releases that a check must name, one for each line of the facts' G.
func auditRows() []row {
	istiod := func(version string, facts []string, finds ...string) row {
		return row{name: "audit-istiod-" + version, facts: facts, spec: coldRelease(version), only: true, finds: finds}
	}
	proxy := func(version string, facts []string, finds ...string) row {
		return row{name: "audit-proxy-" + version, facts: facts, spec: beside(rehearsal.Workload{Release: version}), only: true, finds: finds}
	}
	return []row{
		istiod("1.0.7", []string{"C1", "G-root-ttl", "G-citadel"}, "old-root-ttl", "no-root-rotator", "citadel-secrets", "no-hot-reload", "no-tls-layout", "no-multi-root"),
		istiod("1.3.4", []string{"C1", "G-rotator"}, "no-root-rotator"),
		istiod("1.14.1", []string{"G-tls-layout", "G-sha1"}, "no-tls-layout", "sha1-refused", "reload-off-by-default"),
		istiod("1.17.8", []string{"G-reload", "G-multi-root"}, "reload-off-by-default", "push-without-reissue", "stale-serving-cert"),
		istiod("1.24.3", []string{"G-flattens"}, "chain-in-one-piece", "incomplete-cacerts-silent"),
		istiod("1.26.2", []string{"G-cluster-trust-bundle", "G-incomplete-cacerts"}, "trust-bundle-broken", "incomplete-cacerts-fatal"),
		istiod("1.27.0-rc.0", []string{"G-1.27.0-pre"}, "intermediate-ignored"),
		istiod("1.29.2", []string{"A4", "G-clamped", "G-1.28.8", "B6"}, "leaf-outlives-ca", "ski-changed", "bundle-by-bytes", "istio-csr-root-unwatched", "static-client-roots"),
		proxy("1.0.7", []string{"G-1.0.8"}, "sidecar-before-1.0.8"),
		proxy("1.1.5", []string{"G-1.1.3"}, "mounted-certs-missed"),
		proxy("1.9.0", []string{"G-multi-root"}, "no-pushed-bundle"),
		proxy("1.13.9", []string{"D1", "G-xds-root"}, "xds-root-fixed", "csr-root-fixed", "pushed-without-reissue"),
		proxy("1.30.2", []string{"D2", "G-file-mounted"}, "file-rotation-missed"),
		{name: "audit-ztunnel-1.24.5", facts: []string{"D5", "G-ztunnel"}, spec: beside(rehearsal.Workload{Kind: mesh.Ztunnel, Release: "1.24.5"}), only: true, finds: []string{"one-root-only", "stale-ca-client", "drops-valid-leaf"}},
	}
}
