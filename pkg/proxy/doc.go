// Package proxy reads what a running proxy has loaded: Envoy through its admin
// port, ztunnel through its own, and what an istiod replica would hand out now.
//
// It reaches all of them through one Dialer, so that a cluster (port-forward)
// and a rehearsal (an in-memory pipe) look alike. Everything a proxy answers is
// untrusted: sizes are bounded and parsers are fuzzed.
package proxy
