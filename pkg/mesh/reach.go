package mesh

import (
	"fmt"
	"strings"
	"time"
)

// ReachOf says how a new root gets to a proxy, by value and not by the name of a
// flag (istio-facts C, D1, D2, G).
func ReachOf(p Proxy, planes []ControlPlane) (Reach, string) {
	release, _ := p.ReleaseOf()
	switch {
	case p.Kind == Ztunnel:
		return ReachRenewal, "ztunnels get roots with their next certificate"
	case p.SPIRE:
		return ReachElsewhere, "its certificate comes from SPIRE"
	case p.FileMounted:
		return ReachElsewhere, "its certificate is a mounted file"
	case p.CAProvider != "" && !strings.EqualFold(p.CAProvider, "Citadel"):
		return ReachElsewhere, "its CA provider is " + p.CAProvider
	case p.OutputCerts != "":
		return ReachRestart, "it writes its certificate for others to read (OUTPUT_CERTS), who follow at their own pace"
	case p.ProvCert != "":
		return ReachRestart, "it authenticates with a certificate (PROV_CERT), which istiod judges by the roots of its own start"
	case !p.XDSAgent:
		return ReachRenewal, "PROXY_CONFIG_XDS_AGENT is off: with its next certificate, " + renewal(p)
	case Before(release, "1.20.1"):
		return ReachRenewal, fmt.Sprintf("agent %s does not renew on a pushed bundle", release)
	}
	plane, ok := planeOfRevision(p.Revision, planes)
	if !ok {
		return ReachUnknown, fmt.Sprintf("no control plane of its revision %q was seen", p.Revision)
	}
	switch {
	case !plane.Flags.MultiRoot:
		return ReachRenewal, "ISTIO_MULTIROOT_MESH is off: with its next certificate, " + renewal(p)
	case Before(plane.Version, "1.20.0"):
		return ReachRenewal, fmt.Sprintf("istiod %s does not push a changed bundle: with its next certificate, %s", plane.Version, renewal(p))
	}
	if release == "" && p.Loaded != nil {
		return ReachPush, "both flags are on; its release is not known, its own answers prove it"
	}
	return ReachPush, "both flags are on"
}

func renewal(p Proxy) string {
	ttl := time.Duration(p.SecretTTL)
	if ttl <= 0 {
		ttl = defaultSecretTTL
	}
	return "which it asks for every " + time.Duration(float64(ttl)*(1-p.GraceRatio)).Round(time.Second).String()
}

// planeOfRevision: a tag may stand for a revision, so that a proxy of an unknown
// one belongs to the only control plane where there is only one.
func planeOfRevision(revision string, planes []ControlPlane) (ControlPlane, bool) {
	for _, plane := range planes {
		if plane.Revision == revision || revision == "" && plane.Revision == "default" {
			return plane, true
		}
	}
	if len(planes) == 1 {
		return planes[0], true
	}
	return ControlPlane{}, false
}
