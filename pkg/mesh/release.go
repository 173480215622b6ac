package mesh

import (
	"cmp"
	"fmt"
	"strings"
)

// Release is a release of Istio by number.
type Release struct {
	Major, Minor, Patch int
	// Pre is what follows the number: "rc.0". A release with one is before the
	// same number without.
	Pre string
}

// ParseRelease reads MAJOR.MINOR[.PATCH][-PRE]; false for anything else. What is
// unknown is neither old nor new. A vendor's suffix ("-asm.4") is no pre-release.
func ParseRelease(text string) (r Release, ok bool) {
	number, pre, _ := strings.Cut(text, "-")
	n, _ := fmt.Sscanf(number, "%d.%d.%d", &r.Major, &r.Minor, &r.Patch)
	for _, kind := range []string{"alpha", "beta", "rc", "dev", "snapshot"} {
		if strings.HasPrefix(pre, kind) {
			r.Pre = pre
		}
	}
	return r, n >= 2
}

// exact reports whether a release is known to its patch. A tag "1.24" is whatever its
// registry had of that line when it was pulled, on each node at another time.
func exact(text string) bool {
	r, ok := ParseRelease(text)
	number, _, _ := strings.Cut(text, "-")
	return ok && (strings.Count(number, ".") > 1 || r.Pre != "")
}

// undecided reports whether nothing tells on which side of another a release is: it is not
// known, or only by the line in which that other one is.
func undecided(release, than string) bool {
	r, ok := ParseRelease(release)
	o, _ := ParseRelease(than)
	return !ok || !exact(release) && o.Patch > 0 && r.Major == o.Major && r.Minor == o.Minor
}

// Compare is negative where r is before o.
func (r Release) Compare(o Release) int {
	if c := cmp.Or(cmp.Compare(r.Major, o.Major), cmp.Compare(r.Minor, o.Minor), cmp.Compare(r.Patch, o.Patch)); c != 0 {
		return c
	}
	switch {
	case r.Pre == o.Pre:
		return 0
	case r.Pre == "":
		return 1
	case o.Pre == "":
		return -1
	}
	return cmp.Compare(r.Pre, o.Pre)
}

// Before reports whether a known release is before another. An unknown one is not
// known to be.
func Before(release, than string) bool {
	a, okA := ParseRelease(release)
	b, okB := ParseRelease(than)
	return okA && okB && a.Compare(b) < 0
}

const (
	// envoyWith is how many minor releases Envoy is ahead of the Istio that ships it,
	// from withOwnEnvoy on.
	envoyWith    = 8
	withOwnEnvoy = 5
	// envoyAhead allows one more for builds of one's own.
	envoyAhead = envoyWith + 1
)

// ReleaseOf is a proxy's release by its image or by its own word, which counts where the
// image names no patch. Where only its Envoy says anything, it is the oldest Istio that can have come with that, and
// atLeast is true. "" where nothing is known.
func (p Proxy) ReleaseOf() (release string, atLeast bool) {
	said := p.Loaded != nil && p.Loaded.Info.Istio != ""
	switch {
	case p.Version != "" && (exact(p.Version) || !said):
		return p.Version, false
	case said:
		return p.Loaded.Info.Istio, false
	case p.Loaded == nil:
		return "", false
	}
	if minor := p.EnvoyMinor(); minor > envoyAhead {
		return fmt.Sprintf("1.%d.0", minor-envoyAhead), true
	}
	return "", false
}

// EnvoyMinor is N of the proxy's Envoy 1.N: by its own word, else by the Istio that it
// came with; 0 where neither is known, and for a ztunnel.
func (p Proxy) EnvoyMinor() int {
	if p.Kind == Ztunnel {
		return 0
	}
	if p.Loaded != nil {
		if r, ok := ParseRelease(p.Loaded.Info.Envoy); ok {
			return r.Minor
		}
	}
	if r, ok := ParseRelease(p.Version); ok && r.Major == 1 && r.Minor >= withOwnEnvoy {
		return r.Minor + envoyWith
	}
	return 0
}
