package rotation

// Strategy is a way to replace a CA without a failed request.
type Strategy string

const (
	// HotBundle: both roots are trusted for a while, by push, without a restart.
	// It needs ISTIO_MULTIROOT_MESH and PROXY_CONFIG_XDS_AGENT everywhere.
	HotBundle Strategy = "hot-bundle"
	// CrossSign: the old root vouches for the new one, so that no trust has to be
	// there first. Only istiod restarts.
	CrossSign Strategy = "cross-sign"
	// BundleByRenewal: both roots are trusted for a while; what no push reaches
	// follows with its next certificate.
	BundleByRenewal Strategy = "bundle-by-renewal"
	// BundleByRestart: the same, but what no push reaches is restarted, in waves.
	BundleByRestart Strategy = "bundle-by-restart"
	// Intermediate: another intermediate under the root that is trusted already.
	Intermediate Strategy = "intermediate"
	// SameKey: the root certified anew with its own key, for a root that only expires.
	SameKey Strategy = "same-key"
	// Recover: the CA has expired, connections fail already, and the shortest way out
	// is taken.
	Recover Strategy = "recover"
)

// Strategies are all of them, the preferred first.
func Strategies() []Strategy {
	return []Strategy{Intermediate, HotBundle, CrossSign, BundleByRenewal, BundleByRestart, SameKey, Recover}
}

// Reason is why a CA is replaced; it weighs the strategies.
type Reason string

const (
	// Expiring is the default: there is time, and the old key is good.
	Expiring Reason = "expiring"
	// Compromised: somebody else has the old key. The fastest safe end is preferred,
	// and what would keep the key in power is not possible.
	Compromised Reason = "compromised"
	// Move: to another PKI.
	Move Reason = "move"
)

// Reasons are all of them.
func Reasons() []Reason { return []Reason{Expiring, Compromised, Move} }

// preference is the order in which strategies are picked for a reason.
func (r Reason) preference() []Strategy {
	if r == Compromised {
		return []Strategy{HotBundle, BundleByRestart, CrossSign, BundleByRenewal, Intermediate, SameKey, Recover}
	}
	return Strategies()
}

// Phase is a state of a rotation that one can stop after.
type Phase string

const (
	// Prepare: nothing has been changed; the mesh is in a state to start from, and
	// old and new CA are kept safe. The way back ends here.
	Prepare Phase = "prepare"
	// Adopt: cacerts holds the self-signed pair, and istiod watches it.
	Adopt Phase = "adopt"
	// TrustNew: both roots are trusted, the old CA signs.
	TrustNew Phase = "trust-new"
	// SignNew: the new CA signs.
	SignNew Phase = "sign-new"
	// SwapTrust: the new root takes the old one's place (cross-sign, same-key, recover).
	SwapTrust Phase = "swap-trust"
	// DistrustOld: the old root is trusted no more (bundles).
	DistrustOld Phase = "distrust-old"
	// DropCross: the cross certificate is sent no more.
	DropCross Phase = "drop-cross"
	// Done: the proof stands, and the old CA waits in the staged Secret.
	Done Phase = "done"
	// RolledBack: the old CA is the mesh's again, and the proof stands.
	RolledBack Phase = "rolled-back"
)

// Phases are those of a strategy, in order; Adopt comes behind Prepare where the
// mesh starts self-signed.
func (s Strategy) Phases() []Phase {
	switch s {
	case HotBundle, BundleByRenewal, BundleByRestart:
		return []Phase{Prepare, TrustNew, SignNew, DistrustOld, Done}
	case CrossSign:
		return []Phase{Prepare, SignNew, SwapTrust, DropCross, Done}
	case Intermediate:
		return []Phase{Prepare, SignNew, Done}
	case SameKey, Recover:
		return []Phase{Prepare, SwapTrust, Done}
	}
	return nil
}
