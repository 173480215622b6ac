package tui

import "github.com/meshca/kubectl-meshca/pkg/rotation"

// stopMeans says what it means to stop in a phase, for good or for a while.
func stopMeans(s rotation.Strategy, p rotation.Phase) string {
	switch {
	case p == rotation.Prepare || p == "":
		return "Safe: nothing has been changed yet."
	case p == rotation.Adopt:
		return "Safe: the same pair signs as before, from another Secret."
	case p == rotation.SignNew && s == rotation.Intermediate:
		return "Safe: the root is the same, and both intermediates hang from it."
	case p == rotation.RolledBack:
		return "Safe: the old CA is the mesh's alone, as before."
	case p == rotation.TrustNew:
		return "Safe: the old CA still signs, and both roots are trusted as each proxy gets them."
	case p == rotation.SignNew && s == rotation.CrossSign:
		return "Safe: the old root vouches for the new CA. It must be finished before the old root ends."
	case p == rotation.SignNew:
		return "Safe: the new CA signs, and both roots are trusted everywhere."
	case p == rotation.SwapTrust:
		return "Safe: every certificate is accepted under either root."
	case p == rotation.DistrustOld:
		return "Safe: no proxy needs the old root any more; some may still trust it."
	case p == rotation.DropCross:
		return "Safe: the new root is trusted everywhere; only a spare certificate is still sent."
	}
	return "Safe: the rotation is done."
}

// stopMeansBetween says it where a rotation is carried on and has not yet seen how far
// it had come.
const stopMeansBetween = "Safe: what stands stays, and it goes on from there when it is run again."

// stopMeansBack says it of the way back.
const stopMeansBack = "Safe: each step back is proven before the next, and what stands stays. It goes on when it is run again."

// aim is what a proxy's being ready means in a phase: the head of its bar.
func aim(p rotation.Phase) string {
	switch p {
	case rotation.TrustNew:
		return "trusts both roots"
	case rotation.SignNew:
		return "signed by the new CA"
	case rotation.SwapTrust, rotation.DistrustOld:
		return "trusts the new root"
	case rotation.DropCross, rotation.Done:
		return "new root, new CA"
	}
	return "as it should be"
}
