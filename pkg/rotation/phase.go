package rotation

// Strategy is a way to replace a root without a failed request.
type Strategy string

const (
	// HotBundle: both roots are trusted for a while, by push, without a restart.
	// It needs ISTIO_MULTIROOT_MESH and PROXY_CONFIG_XDS_AGENT everywhere.
	HotBundle Strategy = "hot-bundle"
	// CrossSign: the old root vouches for the new one, so that no trust has to be
	// there first. Only istiod restarts.
	CrossSign Strategy = "cross-sign"
)

// Strategies are all of them, the preferred first.
func Strategies() []Strategy { return []Strategy{HotBundle, CrossSign} }

// Phase is a state of a rotation that one can stop after.
type Phase string

const (
	// Prepare: nothing has been changed; the mesh is in a state to start from, and
	// old and new CA are kept safe.
	Prepare Phase = "prepare"
	// TrustNew: both roots are trusted, the old CA signs.
	TrustNew Phase = "trust-new"
	// SignNew: the new CA signs.
	SignNew Phase = "sign-new"
	// SwapTrust: the new root takes the old one's place (cross-sign).
	SwapTrust Phase = "swap-trust"
	// DistrustOld: the old root is trusted no more (hot-bundle).
	DistrustOld Phase = "distrust-old"
	// DropCross: the cross certificate is sent no more.
	DropCross Phase = "drop-cross"
	// Done: the proof stands, and the old CA waits in the staged Secret.
	Done Phase = "done"
)

// Phases are those of a strategy, in order.
func (s Strategy) Phases() []Phase {
	switch s {
	case HotBundle:
		return []Phase{Prepare, TrustNew, SignNew, DistrustOld, Done}
	case CrossSign:
		return []Phase{Prepare, SignNew, SwapTrust, DropCross, Done}
	}
	return nil
}
