package rehearsal

import "github.com/meshca/kubectl-meshca/pkg/mesh"

// fixed reports whether a release has what came with these, one for each minor
// release that has it by a patch, the last for all that follow. A release that is
// not known is taken for a recent one.
func fixed(release string, since ...string) bool {
	r, ok := mesh.ParseRelease(release)
	if !ok {
		return true
	}
	for n, text := range since {
		from, _ := mesh.ParseRelease(text)
		same := r.Major == from.Major && r.Minor == from.Minor
		if (same || n == len(since)-1) && r.Compare(from) >= 0 {
			return true
		}
	}
	return false
}

func is(release, other string) bool {
	a, okA := mesh.ParseRelease(release)
	b, okB := mesh.ParseRelease(other)
	return okA && okB && a == b
}

// What releases do.

// readsRootsAgain: an agent's client for certificates, after a failure.
func readsRootsAgain(agent string) bool { return fixed(agent, "1.20.1") }

// renewsOnPush needs it on both sides.
func renewsOnPush(istiod, agent string) bool {
	return fixed(istiod, "1.20.0") && fixed(agent, "1.20.0")
}

// splitsRoots: each root of the answer is an element of its own, and an agent takes
// the last element for all of them.
func splitsRoots(istiod string) bool { return is(istiod, "1.24.4") || is(istiod, "1.25.1") }

// flattens: each certificate of the chain is an element of its own.
func flattens(istiod string) bool { return fixed(istiod, "1.24.4", "1.25.1") }

// ignoresSigner: a changed intermediate below the same roots is not loaded.
func ignoresSigner(istiod string) bool {
	return is(istiod, "1.27.0-beta.0") || is(istiod, "1.27.0-rc.0")
}

// trustsBundle: a ztunnel takes all roots of a bundle and not only the first.
func trustsBundle(ztunnel string) bool { return fixed(ztunnel, "1.24.6", "1.25.3", "1.26.0") }

// ztunnelReadsRootsAgain: its client for certificates.
func ztunnelReadsRootsAgain(ztunnel string) bool { return fixed(ztunnel, "1.28.6", "1.29.2", "1.30.0") }

// keepsLeaf: a ztunnel whose renewal fails goes on with what it has.
func keepsLeaf(ztunnel string) bool { return fixed(ztunnel, "1.28.0") }
