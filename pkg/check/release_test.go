package check_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"pgregory.net/rapid"
)

// TestEveryVersionRule holds each rule against the releases at its bounds.
func TestEveryVersionRule(t *testing.T) {
	unseen := map[string]bool{}
	for _, rule := range check.VersionRules() {
		if unseen[rule.ID] {
			t.Errorf("two rules are called %s", rule.ID)
		}
		unseen[rule.ID] = true
	}
	for _, test := range []struct {
		id      string
		subject check.Subject
		in, out string
	}{
		{"before-1.0", check.Istiod, "0.8.0", "1.0.0"},
		{"before-1.0-proxy", check.Sidecar, "0.8.0", "1.0.0"},
		{"old-root-ttl", check.Istiod, "0.8.0 1.0.0 1.0.7 1.1.0 1.1.7", "1.0.8 1.0.9 1.1.8 1.2.0"},
		{"no-root-rotator", check.Istiod, "1.0.9 1.2.8 1.3.0 1.3.4", "1.2.9 1.3.5 1.4.0"},
		{"citadel-secrets", check.Istiod, "1.0.0 1.5.10", "1.6.0"},
		{"no-hot-reload", check.Istiod, "1.4.0 1.12.0 1.13.9", "1.14.0"},
		{"no-tls-layout", check.Istiod, "1.13.9 1.14.0 1.14.1", "1.14.2 1.15.0"},
		{"reload-off-by-default", check.Istiod, "1.14.0 1.17.8", "1.13.9 1.18.0"},
		{"sha1-refused", check.Istiod, "1.14.0 1.30.3", "1.13.9"},
		{"no-multi-root", check.Istiod, "1.9.9", "1.10.0"},
		{"push-without-reissue", check.Istiod, "1.10.0 1.19.9", "1.9.9 1.20.0"},
		{"no-root-in-place", check.Istiod, "1.6.0 1.19.10", "1.20.0"},
		{"bundle-by-bytes", check.Istiod, "1.20.0 1.29.6", "1.19.9 1.30.0"},
		{"stale-serving-cert", check.Istiod, "1.10.0 1.20.9", "1.9.9 1.21.0"},
		{"bundle-split", check.Istiod, "1.24.4 1.25.1 1.24.4-acme.2", "1.24.3 1.24.5 1.25.0 1.25.2 1.26.0"},
		{"chain-in-one-piece", check.Istiod, "1.24.3 1.25.0 1.25.0-rc.1", "1.24.4 1.25.1"},
		{"intermediate-ignored", check.Istiod, "1.27.0-beta.0 1.27.0-rc.0", "1.26.9 1.27.0-alpha.1 1.27.0 1.27.0-distroless"},
		{"incomplete-cacerts-fatal", check.Istiod, "1.26.1 1.31.0", "1.26.0"},
		{"incomplete-cacerts-silent", check.Istiod, "1.26.0", "1.26.1"},
		{"cluster-trust-bundle", check.Istiod, "1.26.0", "1.25.9"},
		{"trust-bundle-broken", check.Istiod, "1.26.0 1.26.2", "1.25.9 1.26.3"},
		{"ski-changed", check.Istiod, "1.28.8 1.29.0 1.31.0", "1.28.7 1.27.9"},
		{"leaf-outlives-ca", check.Istiod, "1.28.6 1.29.0 1.29.2", "1.28.7 1.29.3 1.30.0"},
		{"istio-csr-root-unwatched", check.Istiod, "1.30.3", "1.31.0-rc.0 1.31.0"},
		{"static-client-roots", check.Istiod, "1.0.0 1.31.0", ""},
		{"mounted-certs-missed", check.Sidecar, "1.1.3 1.1.7", "1.1.2 1.1.8 1.2.0"},
		{"sidecar-before-1.0.8", check.Sidecar, "0.8.0 1.0.7 1.1.0 1.1.2", "1.0.8 1.1.3 1.1.8"},
		{"no-pushed-bundle", check.Sidecar, "1.9.0", "1.10.0"},
		{"pushed-without-reissue", check.Sidecar, "1.10.0 1.19.9", "1.9.9 1.20.0"},
		{"xds-root-fixed", check.Sidecar, "1.13.9", "1.14.0"},
		{"csr-root-fixed", check.Sidecar, "1.13.9 1.20.0", "1.20.1"},
		{"file-rotation-missed", check.Sidecar, "1.29.0 1.29.2 1.30.0 1.30.2", "1.28.9 1.29.3 1.30.3 1.31.0"},
		{"one-root-only", check.Ztunnel, "1.18.0 1.24.5 1.25.0-rc.1 1.25.0 1.25.2", "1.24.6 1.25.3 1.26.0"},
		{"stale-ca-client", check.Ztunnel, "1.28.5 1.29.0 1.29.1", "1.28.6 1.29.2 1.30.0"},
		{"drops-valid-leaf", check.Ztunnel, "1.27.9 1.28.0-rc.1", "1.28.0"},
	} {
		matches := func(version string) bool {
			return slices.ContainsFunc(check.Matches(test.subject, version), func(r check.VersionRule) bool { return r.ID == test.id })
		}
		for _, version := range strings.Fields(test.in) {
			if !matches(version) {
				t.Errorf("%s does not hold for %s %s", test.id, test.subject, version)
			}
		}
		for _, version := range strings.Fields(test.out) {
			if matches(version) {
				t.Errorf("%s holds for %s %s", test.id, test.subject, version)
			}
		}
		delete(unseen, test.id)
	}
	for id := range unseen {
		t.Errorf("rule %s is not tested", id)
	}
}

func TestExact(t *testing.T) {
	for version, want := range map[string]bool{
		"1.22.3": true, "1.31.0-rc.0": true, "1.31-alpha.0123abc": true, "1.24.4-acme": true, "0.8.0": true,
		"": false, "1": false, "1.24": false, "1.24.x": false, "latest": false, "1.2.3.4": false, "1.-2.3": false, "v1.2.3": false, "1.2.3garbage": false, "1.24-acme": false, "1.99999.1": false,
	} {
		if got := check.Exact(version); got != want {
			t.Errorf("%q: %t", version, got)
		}
	}
}

// TestAnyPatch: without a patch only what holds for all of them is known.
func TestAnyPatch(t *testing.T) {
	ids := func(rules []check.VersionRule) (all []string) {
		for _, r := range rules {
			if r.Severity != pki.SeverityInfo {
				all = append(all, r.ID)
			}
		}
		return all
	}
	if got := ids(check.Matches(check.Istiod, "1.24")); len(got) != 0 {
		t.Errorf("1.24: %v", got)
	}
	if got := ids(check.Matches(check.Sidecar, "1.29")); len(got) != 0 {
		t.Errorf("1.29: %v", got)
	}
	if got := ids(check.Matches(check.Sidecar, "1.19")); !slices.Equal(got, []string{"csr-root-fixed"}) {
		t.Errorf("1.19: %v", got)
	}
	if got := ids(check.MayMatch(check.Istiod, "1.24.0")); !slices.Equal(got, []string{"bundle-split", "intermediate-ignored"}) {
		t.Errorf("1.24.0 or later: %v", got)
	}
	if got := ids(check.MayMatch(check.Sidecar, "1.31.0")); len(got) != 0 {
		t.Errorf("1.31.0 or later: %v", got)
	}
	if got := check.MayMatch(check.Ztunnel, "nonsense"); len(got) != 3 {
		t.Errorf("of what is unknown nothing can be ruled out: %v", ids(got))
	}
}

// TestMayMatchRulesNothingOutThatHolds: whatever holds for a release may hold for
// it where only an older one is known.
func TestMayMatchRulesNothingOutThatHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		release := rapid.StringMatching(`1\.(0|1|14|2[0-9]|30)\.[0-9](-rc\.[01])?`)
		low, high := release.Draw(t, "low"), release.Draw(t, "high")
		subject := rapid.SampledFrom([]check.Subject{check.Istiod, check.Sidecar, check.Ztunnel}).Draw(t, "subject")
		if before(high, low) {
			low, high = high, low
		}
		may := check.MayMatch(subject, low)
		for _, rule := range check.Matches(subject, high) {
			if rule.Severity != pki.SeverityInfo && !slices.ContainsFunc(may, func(r check.VersionRule) bool { return r.ID == rule.ID }) {
				t.Fatalf("%s holds for %s and is ruled out from %s on", rule.ID, high, low)
			}
		}
	})
}
