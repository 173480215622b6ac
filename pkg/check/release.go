package check

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

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

// VersionRule is one row of the audit of versions.
type VersionRule struct {
	ID       string       `json:"id"`
	Subject  Subject      `json:"subject"`
	Severity pki.Severity `json:"severity"`
	Ranges   []Range      `json:"releases"`
	Message  string       `json:"message"`
	Hint     string       `json:"hint,omitempty"`
}

// Range is releases from From on and before Fixed; "" is open.
type Range struct{ From, Fixed string }

// MarshalText writes the range for people: "1.1.3 to before 1.1.8".
func (r Range) MarshalText() ([]byte, error) {
	switch {
	case r.From == "" && r.Fixed == "":
		return []byte("all"), nil
	case r.Fixed == "":
		return []byte(r.From + " and later"), nil
	case r.From == "":
		return []byte("before " + r.Fixed), nil
	}
	return []byte(r.From + " to before " + r.Fixed), nil
}

// holds reports whether a release is in the range. A pre-release has the faults
// of the line it precedes: 1.25.0-rc.1 is in the range from 1.25.0 on, and not
// yet what 1.25.3 is.
func (r Range) holds(v mesh.Release) bool {
	if from, _, ok := parse(r.From); ok {
		low := v
		if from.Pre == "" {
			low.Pre = ""
		}
		if low.Compare(from) < 0 {
			return false
		}
	}
	return r.before(v)
}

// before reports whether a release is before the fix.
func (r Range) before(v mesh.Release) bool {
	fixed, _, ok := parse(r.Fixed)
	return !ok || v.Compare(fixed) < 0
}

// parse reads a release strictly: what is not MAJOR.MINOR[.PATCH][-SUFFIX] in
// digits is unknown. exact is false where the patch is not said: a tag "1.24" may
// be any of 1.24. A suffix other than a pre-release's is a builder's own, and such
// a build is taken for the release it names.
func parse(text string) (r mesh.Release, exact, ok bool) {
	number, suffix, _ := strings.Cut(text, "-")
	parts := strings.Split(number, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return r, false, false
	}
	var n [3]int
	for i, part := range parts {
		value, err := strconv.ParseUint(part, 10, 16)
		if err != nil {
			return r, false, false
		}
		n[i] = int(value)
	}
	r = mesh.Release{Major: n[0], Minor: n[1], Patch: n[2]}
	for _, pre := range []string{"alpha", "beta", "rc", "dev", "snapshot"} {
		if strings.HasPrefix(suffix, pre) {
			r.Pre = suffix
		}
	}
	return r, len(parts) == 3 || r.Pre != "", true
}

// Exact reports whether a version names one release, so that every rule either
// holds for it or does not.
func Exact(version string) bool {
	_, exact, ok := parse(version)
	return ok && exact
}

// VersionRules are rules by exact range, each found in the
// tags of istio/istio and istio/ztunnel; back-ports count.
func VersionRules() []VersionRule {
	const info, warning, fault = pki.SeverityInfo, pki.SeverityWarning, pki.SeverityError
	return []VersionRule{
		// What the facts do not reach is treated as 1.0.
		{"before-1.0", Istiod, warning, []Range{{"", "1.0.0"}}, "it is of before 1.0, where nothing is known for certain: it is treated as 1.0", "upgrade"},
		{"before-1.0-proxy", Sidecar, warning, []Range{{"", "1.0.0"}}, "it is of before 1.0, where nothing is known for certain: it is treated as 1.0", "upgrade"},
		// istio.io v1.4 root-transition; security/pkg/pki/ca/ca.go at 1.0.8, 1.1.8.
		{"old-root-ttl", Istiod, warning, []Range{{"", "1.0.8"}, {"1.1.0", "1.1.8"}}, "roots made by this release last one year", "look at the root's own dates, and upgrade"},
		// security/pkg/pki/ca/selfsignedcarootcertrotator.go.
		{"no-root-rotator", Istiod, warning, []Range{{"", "1.2.9"}, {"1.3.0", "1.3.5"}}, "it does not renew a self-signed root", "rotate before the root ends"},
		// security/cmd/istio_ca is gone in 1.6.0; workloadsecret.go:384 at 1.1.8.
		{"citadel-secrets", Istiod, info, []Range{{"", "1.6.0"}}, "a Citadel of this release keeps workload certificates in Secrets istio.<service account>, and renews them within a minute after its root's bytes change", ""},
		// No watcher up to 1.11; without effect on Secret volumes in 1.12 and 1.13 (fb09fd0b455).
		{"no-hot-reload", Istiod, warning, []Range{{"", "1.14.0"}}, "it loads a changed CA only when it restarts", "upgrade to 1.18 or later"},
		{"no-tls-layout", Istiod, info, []Range{{"", "1.14.2"}}, "it does not read cacerts of type kubernetes.io/tls", "use the four files of an Opaque Secret, or upgrade"},
		// features/pilot.go:685 at 1.18.0, PR 43946.
		{"reload-off-by-default", Istiod, warning, []Range{{"1.14.0", "1.18.0"}}, "it watches its CA files only with AUTO_RELOAD_PLUGIN_CERTS=true", "set it, or upgrade to 1.18 or later"},
		// Built with Go 1.18 and later; issues 38049, 41993.
		{"sha1-refused", Istiod, info, []Range{{"1.14.0", ""}}, "it refuses CA certificates that are signed with SHA-1", ""},
		// features/pilot.go:443 at 1.10.0.
		{"no-multi-root", Istiod, info, []Range{{"", "1.10.0"}}, "it has no ISTIO_MULTIROOT_MESH", ""},
		// secretcache.go:745 at 1.20.0.
		{"push-without-reissue", Istiod, info, []Range{{"1.10.0", "1.20.0"}}, "a bundle that it pushes brings no new certificate", "wait for renewals, or restart"},
		// istio_ca.go:329 at 1.20.0.
		{"no-root-in-place", Istiod, warning, []Range{{"1.5.0", "1.20.0"}}, "it never loads a changed root in place", "upgrade to 1.20 or later, or cross-sign"},
		// 39e9530e463 is in no 1.28 and 1.29.
		{"bundle-by-bytes", Istiod, info, []Range{{"1.20.0", "1.30.0"}}, "it compares bundles as bytes: the next must contain the one before, or be contained in it, verbatim", "lay bundles out by appending"},
		// certcontroller.go:162; PR 47842.
		{"stale-serving-cert", Istiod, info, []Range{{"1.10.0", "1.21.0"}}, "after a renewal of a self-signed root it serves the old certificate for up to a minute", ""},
		// c2ac935c588; fixed by 55835.
		{"bundle-split", Istiod, fault, []Range{{"1.24.4", "1.24.5"}, {"1.25.1", "1.25.2"}}, "it hands out only the last root of a bundle: two roots at once cannot be trusted", "upgrade to 1.24.5, 1.25.2 or later before anything else"},
		// server.go:147 at 1.24.4.
		{"chain-in-one-piece", Istiod, info, []Range{{"", "1.24.4"}, {"1.25.0", "1.25.1"}}, "it hands out a chain file of several certificates in one piece, of which ztunnel reads the first", "with ztunnel keep cert-chain.pem to one certificate, or upgrade"},
		// 970a63443ad.
		{"intermediate-ignored", Istiod, fault, []Range{{"1.27.0-beta.0", "1.27.0"}}, "this pre-release ignores a changed intermediate", "upgrade to 1.27.0 or later"},
		// 20a7fe40e13.
		{"incomplete-cacerts-fatal", Istiod, info, []Range{{"1.26.1", ""}}, "an incomplete cacerts keeps it from starting", ""},
		{"incomplete-cacerts-silent", Istiod, info, []Range{{"", "1.26.1"}}, "an incomplete cacerts makes it sign with a root of its own, and it does not say so", ""},
		// clustertrustbundle/controller.go:30.
		{"cluster-trust-bundle", Istiod, info, []Range{{"1.26.0", ""}}, "with ENABLE_CLUSTER_TRUST_BUNDLE_API=true it writes a ClusterTrustBundle instead of ConfigMaps", ""},
		{"trust-bundle-broken", Istiod, info, []Range{{"1.26.0", "1.26.3"}}, "its ClusterTrustBundle does not work", "leave ENABLE_CLUSTER_TRUST_BUNDLE_API off, or upgrade to 1.26.3"},
		// Built with Go 1.25: x509sha256skid.
		{"ski-changed", Istiod, info, []Range{{"1.28.8", ""}}, "it renews a self-signed root with another subject key identifier than older releases made", "re-issue by hand with the old identifier, byte for byte"},
		// generate_cert.go:333 at 1.30.3.
		{"leaf-outlives-ca", Istiod, info, []Range{{"", "1.28.7"}, {"1.29.0", "1.29.3"}}, "its leaves may outlive its CA", "rotate long before the CA ends"},
		// 6671904a989, PR 60446.
		{"istio-csr-root-unwatched", Istiod, info, []Range{{"", "1.31.0-rc.0"}}, "beside istio-csr it does not watch the root file", "restart it after the root has changed"},
		// createPeerCertVerifier is called once: server.go:785 at 1.30.3, the same in 1.8.
		{"static-client-roots", Istiod, info, []Range{{"", ""}}, "it judges virtual machines and PROV_CERT agents by the roots of its own start", "restart it between trusting a new root and signing with it, where there are any"},

		// a788675c8cc, 145b18a4410.
		{"mounted-certs-missed", Sidecar, fault, []Range{{"1.1.3", "1.1.8"}}, "this sidecar does not see new mounted certificates", "upgrade to 1.1.8, or restart it after each renewal"},
		{"sidecar-before-1.0.8", Sidecar, warning, []Range{{"", "1.0.8"}, {"1.1.0", "1.1.3"}}, "it is of before 1.0.8 / 1.1.8", "upgrade: its control plane may have made a root of one year"},
		{"no-pushed-bundle", Sidecar, info, []Range{{"", "1.10.0"}}, "its agent takes no pushed bundle", "wait for renewals, or restart"},
		{"pushed-without-reissue", Sidecar, info, []Range{{"1.10.0", "1.20.0"}}, "its agent takes a pushed bundle without asking for a new certificate", "wait for renewals, or restart"},
		// PR 36813.
		{"xds-root-fixed", Sidecar, warning, []Range{{"1.5.0", "1.14.0"}}, "its agent reads istiod's root only when it starts", "restart it between trusting a new root and signing with it"},
		// PR 47959.
		{"csr-root-fixed", Sidecar, warning, []Range{{"1.5.0", "1.20.1"}}, "its agent's requests for certificates keep the roots of its start", "restart it between trusting a new root and signing with it, or cross-sign"},
		// Release note 59912.
		{"file-rotation-missed", Sidecar, warning, []Range{{"1.29.0", "1.29.3"}, {"1.30.0", "1.30.3"}}, "it misses the second rotation of certificates mounted as files", "upgrade to 1.29.3, 1.30.3 or later"},

		// ztunnel c29cd78a, 642b1d7d; src/identity/manager.rs:390 at 1.27.9.
		{"one-root-only", Ztunnel, fault, []Range{{"", "1.24.6"}, {"1.25.0", "1.25.3"}}, "it trusts only the first root of a bundle", "upgrade to 1.24.6, 1.25.3 or later, or cross-sign"},
		{"stale-ca-client", Ztunnel, warning, []Range{{"", "1.28.6"}, {"1.29.0", "1.29.2"}}, "its requests for certificates keep the roots of its start", "restart it between trusting a new root and signing with it"},
		{"drops-valid-leaf", Ztunnel, warning, []Range{{"", "1.28.0"}}, "one failed renewal makes it throw a valid certificate away", "upgrade to 1.28.0 or later"},
	}
}

// anyPatch is beyond the last patch of every line.
const anyPatch = 1 << 16

// Matches are the rules that hold for one release of one subject, the worst
// first. Of a version without a patch they are those that hold for every patch;
// of one that is not a release there are none: ask Exact.
func Matches(subject Subject, version string) []VersionRule {
	v, exact, ok := parse(version)
	if !ok {
		return nil
	}
	last := v
	if !exact {
		last.Patch = anyPatch
	}
	return matching(subject, func(r Range) bool { return r.holds(v) && r.holds(last) })
}

// MayMatch are the rules that cannot be ruled out for one subject of which only
// the oldest possible release is known, the worst first; facts without a fault
// are left out.
func MayMatch(subject Subject, atLeast string) []VersionRule {
	v, _, ok := parse(atLeast)
	all := matching(subject, func(r Range) bool { return !ok || r.before(v) })
	return slices.DeleteFunc(all, func(r VersionRule) bool { return r.Severity == pki.SeverityInfo })
}

func matching(subject Subject, in func(Range) bool) []VersionRule {
	var all []VersionRule
	for _, rule := range VersionRules() {
		if rule.Subject == subject && slices.ContainsFunc(rule.Ranges, in) {
			all = append(all, rule)
		}
	}
	slices.SortStableFunc(all, func(a, b VersionRule) int { return cmp.Compare(rank(b.Severity), rank(a.Severity)) })
	return all
}

func releaseRules() []Rule {
	return []Rule{
		{ID: "istiod-release", Category: Release, About: "no istiod is of a release with a known fault", Facts: true, Needs: "no istiod was seen", Reads: istiods(), Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, plane := range s.ControlPlanes {
				var seen []string
				for _, release := range releasesOf(plane) {
					if slices.Contains(seen, release) {
						continue
					}
					seen = append(seen, release)
					all = append(all, ofRelease(Istiod, planeObject(plane), nil, release, false)...)
				}
			}
			return all, len(s.ControlPlanes)
		}},
		{ID: "proxy-release", Category: Release, About: "no proxy is of a release with a known fault", Facts: true, Needs: "no proxy was seen", Reads: []string{"pods"}, Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			type kind struct {
				subject Subject
				release string
				atLeast bool
			}
			var seen crowds[kind]
			for _, p := range s.Proxies {
				k := kind{subject: SubjectOf(p)}
				k.release, k.atLeast = p.ReleaseOf()
				seen.add(k, p.Ref())
			}
			for _, k := range seen.order {
				all = append(all, ofRelease(k.subject, crowd(seen.refs[k]), seen.refs[k], k.release, k.atLeast)...)
			}
			return all, len(s.Proxies)
		}},
		{ID: "mixed-releases", Category: Release, About: "all istiods are of one release", Needs: "no replica's release is known", Reads: istiods(), Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			seen := map[string][]string{}
			for _, plane := range s.ControlPlanes {
				for i, release := range releasesOf(plane) {
					if i >= len(plane.Replicas) {
						continue // a Deployment without pods
					}
					if release != "" {
						looked++
					}
					release = cmp.Or(release, "unknown")
					seen[release] = append(seen[release], plane.Namespace+"/"+plane.Replicas[i].Pod)
				}
			}
			if len(seen) > 1 {
				var parts []string
				for release, pods := range seen {
					slices.Sort(pods)
					parts = append(parts, fmt.Sprintf("%s (%s)", release, strings.Join(pods, ", ")))
				}
				slices.Sort(parts)
				all = append(all, Finding{Severity: pki.SeverityWarning, Object: "istiod", Message: fmt.Sprintf("replicas of %d releases run at once: %s", len(seen), strings.Join(parts, "; ")), Hint: "end the upgrade before a rotation"})
			}
			return all, looked
		}},
	}
}

// SubjectOf is whom a proxy's release is judged as.
func SubjectOf(p mesh.Proxy) Subject {
	if p.Kind == mesh.Ztunnel {
		return Ztunnel
	}
	return Sidecar
}

// ReleaseOf is a replica's release: its own, or its Deployment's, where that has
// rolled out and so speaks for every pod.
func ReleaseOf(plane mesh.ControlPlane, replica mesh.Istiod) string {
	if replica.Version == "" && plane.Settled {
		return plane.Version
	}
	return replica.Version
}

// releasesOf are the releases of a control plane's replicas in their order, or
// its Deployment's where it has none.
func releasesOf(plane mesh.ControlPlane) []string {
	if len(plane.Replicas) == 0 {
		return []string{plane.Version}
	}
	var all []string
	for _, r := range plane.Replicas {
		all = append(all, ReleaseOf(plane, r))
	}
	return all
}

// ofRelease judges a release. One that is not known exactly is a finding of its
// own, whatever else is known: it may have every fault that is not ruled out.
func ofRelease(subject Subject, object string, refs []string, version string, atLeast bool) []Finding {
	var all []Finding
	unknown := Finding{ID: "release-unknown", Severity: pki.SeverityWarning, Object: object, proxies: refs,
		Hint: "the rules for releases say nothing certain about it; its own answers are the proof"}
	_, _, ok := parse(version)
	switch {
	case !ok && version != "":
		unknown.Message = fmt.Sprintf("its release is not known: %q is none", version)
	case !ok:
		unknown.Message = "its release is not known: neither its image nor itself names one"
	case atLeast:
		var ids []string
		for _, rule := range MayMatch(subject, version) {
			ids = append(ids, rule.ID)
		}
		if len(ids) == 0 {
			return nil // whichever it is, nothing is known against it
		}
		unknown.Message = fmt.Sprintf("its release is not known: its Envoy says only that it is not before %s; it may have %s", version, strings.Join(ids, ", "))
	case !Exact(version):
		unknown.Message = fmt.Sprintf("its patch release is not known: %s may be any of that line", version)
	}
	if unknown.Message != "" {
		all = append(all, unknown)
	}
	if !ok || atLeast {
		return all
	}
	for _, rule := range Matches(subject, version) {
		all = append(all, Finding{ID: rule.ID, Severity: rule.Severity, Object: object + " (" + version + ")", Message: rule.Message, Hint: rule.Hint, proxies: refs})
	}
	return all
}
