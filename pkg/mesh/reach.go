package mesh

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// TakesRoots reports whether an istiod loads a changed root while it runs and pushes it,
// given ISTIO_MULTIROOT_MESH (istio 1.20.0 pilot/pkg/bootstrap/istio_ca.go:329). One whose
// release is not known does, until its gate says otherwise.
func TakesRoots(istiod string) bool { return !Before(istiod, "1.20.0") }

// RereadsRoots reports whether an agent asks for a new leaf on a pushed bundle (1.20.0
// security/pkg/nodeagent/cache/secretcache.go:745), and reads its roots for that request
// again (1.20.1, pull request 47959). One whose release is not known does, likewise.
func RereadsRoots(agent string) bool { return !Before(agent, "1.20.1") }

// ReachOf says how a new root gets to a proxy, by value and not by the name of a
// flag. What is not known is ReachUnknown, save for an
// istiod's release: a push that does not come keeps its gate closed.
func ReachOf(p Proxy, planes []ControlPlane) (Reach, string) {
	switch {
	case p.Opaque:
		return ReachRestart, "it is neither an Envoy nor a ztunnel: how it follows is not known"
	case p.Unsaid != "":
		return ReachUnknown, p.Unsaid
	case p.Kind == Ztunnel:
		return ReachRenewal, "ztunnels get roots with their next certificate, " + renewal(p)
	case p.SPIRE:
		return ReachElsewhere, "its certificate comes from SPIRE"
	case p.FileMounted:
		return ReachElsewhere, "its certificate is a mounted file"
	case p.CAProvider != "" && !strings.EqualFold(p.CAProvider, "Citadel"):
		return ReachElsewhere, "its CA provider is " + p.CAProvider
	case foreign(p.CAAddr):
		return ReachElsewhere, "it asks " + p.CAAddr + " for its certificate, which is no istiod"
	}
	if len(planes) == 1 && planes[0].Elsewhere != "" { // of whatever revision
		return ReachElsewhere, "its istiod cannot be seen from here: " + planes[0].Elsewhere
	}
	plane, ok := PlaneOf(p, planes)
	if !ok && len(planes) == 1 && planes[0].CA.Kind == CACitadel {
		plane, ok = planes[0], true // of a time before revisions
	}
	if !ok {
		return ReachUnknown, fmt.Sprintf("no control plane of its revision %q was seen", p.Revision)
	}
	if plane.CA.Kind == CACitadel {
		return citadelReach(p)
	}
	if plane.CA.Kind == CAUnsupported {
		return ReachUnknown, fmt.Sprintf("its control plane is of the kind %q, which cannot be read", plane.CA.Kind)
	}
	if kind, why := externalCA(plane.Flags); kind != "" {
		return ReachElsewhere, "istiod signs nothing (" + why + ")"
	}
	switch {
	case p.OutputCerts != "":
		return ReachRestart, "it writes its certificate for others to read (OUTPUT_CERTS), who follow at their own pace"
	case p.ProvCert != "":
		return ReachRestart, "it authenticates with a certificate (PROV_CERT), which istiod judges by the roots of its own start"
	case !p.XDSAgent:
		return ReachRenewal, "PROXY_CONFIG_XDS_AGENT is off: with its next certificate, " + renewal(p)
	case !plane.Flags.MultiRoot:
		return ReachRenewal, "ISTIO_MULTIROOT_MESH is off: with its next certificate, " + renewal(p)
	case !TakesRoots(plane.Version):
		return ReachRenewal, fmt.Sprintf("istiod %s does not push a changed bundle: with its next certificate, %s", plane.Version, renewal(p))
	}
	release, atLeast := p.ReleaseOf()
	_, known := ParseRelease(release)
	switch {
	case !known && p.Starting:
		return ReachPush, "both flags are on; it has not started yet"
	case !known && p.Quit:
		return ReachPush, "both flags are on; it has quit, and nothing is to reach it"
	case !known:
		return ReachUnknown, "both flags are on, and its release is not known"
	case !RereadsRoots(release) && atLeast:
		return ReachUnknown, fmt.Sprintf("both flags are on, and its release is only known to be %s or later", release)
	case !RereadsRoots(release):
		return ReachRenewal, fmt.Sprintf("agent %s does not renew on a pushed bundle: with its next certificate, %s", release, renewal(p))
	case plane.Version == "":
		return ReachPush, "both flags are on; the release of its istiod is not known, its own answers prove it"
	}
	return ReachPush, "both flags are on"
}

func renewal(p Proxy) string {
	ttl := time.Duration(p.SecretTTL)
	if ttl <= 0 {
		ttl = defaultSecretTTL
	}
	every := ttl / 2 // a ztunnel's own rule (ztunnel 1.30.3 src/tls/certificate.rs:375)
	if p.Kind != Ztunnel {
		every = time.Duration(float64(ttl) * (1 - p.GraceRatio))
	}
	return "which it asks for every " + every.Round(time.Second).String()
}

// host is the service that a proxy asks for its certificate.
func host(address string) (name, namespace string) {
	address, _, _ = strings.Cut(address, ":")
	name, rest, _ := strings.Cut(address, ".")
	namespace, _, _ = strings.Cut(rest, ".")
	return name, namespace
}

// foreign: an agent asks its discovery address where CA_ADDR is empty. Services of
// istiods are named after them, whatever the revision.
func foreign(address string) bool {
	name, _ := host(address)
	return address != "" && !strings.HasPrefix(name, "istiod") && !strings.HasPrefix(name, "istio-pilot") && !strings.HasPrefix(name, "istio-citadel")
}

// PlaneOf is the control plane that signs for a proxy: the one whose service it
// asks, else the one of its revision.
func PlaneOf(p Proxy, planes []ControlPlane) (ControlPlane, bool) {
	if name, namespace := host(p.CAAddr); strings.HasPrefix(name, "istiod-") {
		for _, plane := range planes {
			if revision := strings.TrimPrefix(name, "istiod-"); plane.Namespace == namespace && (plane.Name == name || plane.GoesBy(revision)) {
				return plane, true
			}
		}
	}
	revision := p.Revision
	if revision == "" {
		revision = "default"
	}
	for _, plane := range planes {
		if plane.GoesBy(revision) {
			return plane, true
		}
	}
	if len(planes) == 1 && p.Revision == "" {
		return planes[0], true
	}
	return ControlPlane{}, false
}

// GoesBy reports whether it is of this revision, by its name or by a tag.
func (c ControlPlane) GoesBy(revision string) bool {
	return c.Revision == revision || slices.Contains(c.Tags, revision)
}
