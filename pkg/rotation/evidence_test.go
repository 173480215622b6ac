package rotation

import (
	"slices"
	"strings"
	"testing"
)

// The lines of seed 001, among others; a log without the last of them has not ended.
func TestS15_ReloadLines(t *testing.T) {
	const log = `2022-08-11T20:18:40.1Z info ads XDS: Pushing
2022-08-11T20:18:41.493247Z info Update Istiod cacerts
2022-08-11T20:18:41.493483Z info Using kubernetes.io/tls secret type for signing ca files
2022-08-11T20:18:41.716843Z info Istiod has detected the newly added intermediate CA and updated its key and certs accordingly
2022-08-11T20:18:41.717170Z info x509 cert - Issuer: "CN=istiod.istio-system.svc", Subject: "", SN: 1c43
2022-08-11T20:18:41.717256Z info Istiod certificates are reloaded
`
	lines, whole := reloadLines(strings.NewReader(log))
	if !whole || len(lines) != 5 || slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "Pushing") }) {
		t.Errorf("%v %q", whole, lines)
	}
	if lines, whole := reloadLines(strings.NewReader(log[:strings.Index(log, "Istiod has")])); whole || len(lines) != 2 {
		t.Errorf("half a reload: %v %q", whole, lines)
	}
	if lines, _ := reloadLines(strings.NewReader(strings.Repeat(log, 100))); len(lines) != evidenceLines {
		t.Errorf("%d lines", len(lines))
	}
}
