package check

import (
	"fmt"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Subject is who a version rule is about.
type Subject string

const (
	Istiod  Subject = "istiod"
	Sidecar Subject = "proxy"
	Ztunnel Subject = "ztunnel"
)

// VersionRule is one row of the audit of versions: releases from From on and
// before Fixed, of one line each; "" is open.
type VersionRule struct {
	ID       string       `json:"id"`
	Subject  Subject      `json:"subject"`
	Severity pki.Severity `json:"severity"`
	Ranges   []Range      `json:"-"`
	Message  string       `json:"message"`
	Hint     string       `json:"hint"`
}

// Range is releases from From on and before Fixed.
type Range struct{ From, Fixed string }

func (r Range) holds(version string) bool {
	v, ok := mesh.ParseRelease(version)
	if !ok {
		return false
	}
	if from, ok := mesh.ParseRelease(r.From); ok && v.Compare(from) < 0 {
		return false
	}
	fixed, ok := mesh.ParseRelease(r.Fixed)
	return !ok || v.Compare(fixed) < 0
}

// VersionRules are the rules of istio-facts G by exact range, each found in the
// tags of istio/istio and istio/ztunnel.
func VersionRules() []VersionRule {
	return []VersionRule{
		{"old-root-ttl", Istiod, pki.SeverityWarning, []Range{{"1.0.0", "1.0.8"}, {"1.1.0", "1.1.8"}}, "roots made by this release last one year", "look at the root's own dates, and upgrade"},
		{"mounted-certs-missed", Sidecar, pki.SeverityError, []Range{{"1.1.3", "1.1.8"}}, "this sidecar does not see new mounted certificates", "upgrade to 1.1.8, or restart it after each renewal"},
		{"sidecar-before-1.0.8", Sidecar, pki.SeverityWarning, []Range{{"1.0.0", "1.0.8"}, {"1.1.0", "1.1.3"}}, "it is of before 1.0.8 / 1.1.8", "upgrade: its control plane may have made a root of one year"},
		{"no-hot-reload", Istiod, pki.SeverityWarning, []Range{{"1.5.0", "1.14.0"}}, "it loads a changed CA only when it restarts", "upgrade to 1.18 or later"},
		{"no-tls-layout", Istiod, pki.SeverityInfo, []Range{{"1.5.0", "1.14.2"}}, "it does not read cacerts of type kubernetes.io/tls", "use the four files of an Opaque Secret, or upgrade"},
		{"reload-off-by-default", Istiod, pki.SeverityWarning, []Range{{"1.14.0", "1.18.0"}}, "it watches its CA files only with AUTO_RELOAD_PLUGIN_CERTS=true", "set it, or upgrade to 1.18 or later"},
		{"xds-root-fixed", Sidecar, pki.SeverityWarning, []Range{{"1.5.0", "1.14.0"}}, "its agent reads istiod's root only when it starts", "restart it between trusting a new root and signing with it"},
		{"csr-root-fixed", Sidecar, pki.SeverityWarning, []Range{{"1.14.0", "1.20.1"}}, "its agent's requests for certificates keep the roots of its start", "restart it between trusting a new root and signing with it, or cross-sign"},
		{"no-root-in-place", Istiod, pki.SeverityWarning, []Range{{"1.14.0", "1.20.0"}}, "it never loads a changed root in place", "upgrade to 1.20 or later, or cross-sign"},
		{"stale-serving-cert", Istiod, pki.SeverityInfo, []Range{{"1.10.0", "1.21.0"}}, "after a renewal of a self-signed root it serves the old certificate for up to a minute", ""},
		{"bundle-split", Istiod, pki.SeverityError, []Range{{"1.24.4", "1.24.5"}, {"1.25.1", "1.25.2"}}, "it hands out only the last root of a bundle: two roots at once cannot be trusted", "upgrade to 1.24.5, 1.25.2 or later before anything else"},
		{"intermediate-ignored", Istiod, pki.SeverityError, []Range{{"1.27.0-alpha", "1.27.0"}}, "this pre-release ignores a changed intermediate", "upgrade to 1.27.0 or later"},
		{"incomplete-cacerts-fatal", Istiod, pki.SeverityInfo, []Range{{"1.26.1", ""}}, "an incomplete cacerts keeps it from starting", ""},
		{"trust-bundle-broken", Istiod, pki.SeverityInfo, []Range{{"1.26.0", "1.26.3"}}, "its ClusterTrustBundle does not work", "leave ENABLE_CLUSTER_TRUST_BUNDLE_API off, or upgrade to 1.26.3"},
		{"ski-changed", Istiod, pki.SeverityInfo, []Range{{"1.28.8", "1.29.0"}, {"1.29.0", ""}}, "it renews a self-signed root with another subject key identifier than older releases made", "re-issue by hand with the old identifier, byte for byte"},
		{"leaf-outlives-ca", Istiod, pki.SeverityInfo, []Range{{"1.5.0", "1.28.7"}, {"1.29.0", "1.29.3"}}, "its leaves may outlive its CA", "rotate long before the CA ends"},
		{"file-rotation-missed", Sidecar, pki.SeverityWarning, []Range{{"1.29.0", "1.29.3"}, {"1.30.0", "1.30.3"}}, "it misses the second rotation of certificates mounted as files", "upgrade to 1.29.3, 1.30.3 or later"},
		{"one-root-only", Ztunnel, pki.SeverityError, []Range{{"1.18.0", "1.24.6"}, {"1.25.0", "1.25.3"}}, "it trusts only the first root of a bundle", "upgrade to 1.24.6, 1.25.3 or later, or cross-sign"},
		{"stale-ca-client", Ztunnel, pki.SeverityWarning, []Range{{"1.18.0", "1.28.6"}, {"1.29.0", "1.29.2"}}, "its requests for certificates keep the roots of its start", "restart it between trusting a new root and signing with it"},
		{"drops-valid-leaf", Ztunnel, pki.SeverityWarning, []Range{{"1.18.0", "1.28.0"}}, "one failed renewal makes it throw a valid certificate away", "upgrade to 1.28.0 or later"},
	}
}

// MayMatch are the rules that may hold for a release of which only the oldest
// possibility is known.
func MayMatch(subject Subject, oldest string) []VersionRule {
	var all []VersionRule
	for _, rule := range VersionRules() {
		if rule.Subject != subject {
			continue
		}
		for _, r := range rule.Ranges {
			if r.Fixed == "" || mesh.Before(oldest, r.Fixed) {
				all = append(all, rule)
				break
			}
		}
	}
	return all
}

// Matches are the rules that hold for one release of one subject.
func Matches(subject Subject, version string) []VersionRule {
	var all []VersionRule
	for _, rule := range VersionRules() {
		if rule.Subject != subject {
			continue
		}
		for _, r := range rule.Ranges {
			if r.holds(version) {
				all = append(all, rule)
				break
			}
		}
	}
	return all
}

func releaseRules() []Rule {
	return []Rule{
		{ID: "istiod-release", Category: Release, About: "no istiod is of a release with a known fault", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, plane := range s.ControlPlanes {
				object := "istiod " + plane.Namespace + "/" + plane.Name
				all = append(all, ofRelease(Istiod, object, plane.Version)...)
			}
			return all, len(s.ControlPlanes)
		}},
		{ID: "proxy-release", Category: Release, About: "no proxy is of a release with a known fault", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			// By release and not by proxy: ten thousand of one kind are one finding.
			type kind struct {
				subject Subject
				release string
			}
			count, first := map[kind]int{}, map[kind]string{}
			var order []kind
			for _, p := range s.Proxies {
				release, atLeast := p.ReleaseOf()
				k := kind{Sidecar, release}
				if p.Kind == mesh.Ztunnel {
					k.subject = Ztunnel
				}
				if atLeast {
					if len(MayMatch(k.subject, release)) == 0 {
						continue // whichever it is, nothing is known against it
					}
					k.release = "" // which of them it is decides, and is not known
				}
				if count[k]++; count[k] == 1 {
					first[k] = p.Ref()
					order = append(order, k)
				}
			}
			for _, k := range order {
				object := string(k.subject) + " " + first[k]
				if count[k] > 1 {
					object = fmt.Sprintf("%d proxies, one is %s", count[k], first[k])
				}
				all = append(all, ofRelease(k.subject, object, k.release)...)
			}
			return all, len(s.Proxies)
		}},
		{ID: "mixed-releases", Category: Release, About: "all istiods are of one release", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			seen := map[string]string{}
			for _, plane := range s.ControlPlanes {
				for _, r := range plane.Replicas {
					if r.Version != "" {
						seen[r.Version] = plane.Namespace + "/" + r.Pod
					}
				}
			}
			if len(seen) > 1 {
				all = append(all, Finding{Severity: pki.SeverityWarning, Object: "istiod", Message: fmt.Sprintf("replicas of %d releases run at once", len(seen)), Hint: "end the upgrade before a rotation"})
			}
			return all, len(s.ControlPlanes)
		}},
	}
}

func ofRelease(subject Subject, object, version string) []Finding {
	if _, ok := mesh.ParseRelease(version); !ok {
		return []Finding{{ID: "release-unknown", Severity: pki.SeverityWarning, Object: object, Message: "its release is not known: neither its image nor itself names one",
			Hint: "the rules for releases say nothing about it; its own answers are the proof"}}
	}
	var all []Finding
	for _, rule := range Matches(subject, version) {
		all = append(all, Finding{ID: rule.ID, Severity: rule.Severity, Object: object + " (" + version + ")", Message: rule.Message, Hint: rule.Hint})
	}
	return all
}
