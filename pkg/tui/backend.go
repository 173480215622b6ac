package tui

import (
	"context"
	"errors"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// Backend is what the wizard looks through and acts by. Its methods block until
// they have answered or ctx has ended, and may be called from several goroutines.
type Backend interface {
	// Look reads the whole mesh and judges it; progress is told of proxies read.
	Look(ctx context.Context, progress func(done, of int)) (*Look, error)
	// Plan says what a choice would do, or why it would be refused. It changes
	// nothing.
	Plan(ctx context.Context, c Choice) (*rotation.Plan, error)
	// Rotate makes the plan of a choice so, from wherever the mesh stands, and
	// tells emit of every Event, one at a time.
	Rotate(ctx context.Context, c Choice, emit func(rotation.Event)) error
	// Steer sends an order to the rotation that runs, or says why it is refused.
	// That it was carried out is told by an Event.
	Steer(ctx context.Context, o Order) error
	// Command is the plain command that does what a choice does, "" where there is
	// none.
	Command(c Choice) string
	// Save keeps text, and the report of the mesh as it is now, in new files, and says
	// which; where that is not all of them, with an error beside.
	Save(ctx context.Context, name, text string) (string, error)
}

// Act is what a running rotation can be told.
type Act string

const (
	Pause    Act = "pause"     // begin nothing new; what stands stays
	Resume   Act = "resume"    // go on
	Accept   Act = "accept"    // let one object stay unknown
	RollBack Act = "roll back" // return to the state before
)

// KindTraffic is an Event that a Backend adds to the engine's: what the proxies have
// counted since the run began. It is shown, and judged by nobody.
const KindTraffic rotation.EventKind = "traffic"

// Order is an Act; Object and Reason belong to Accept.
type Order struct {
	Act            Act
	Object, Reason string
}

// Problem is an error with what can be done about it.
type Problem struct {
	Err  error
	Hint string
}

func (p *Problem) Error() string { return p.Err.Error() }
func (p *Problem) Unwrap() error { return p.Err }

// hintOf is what can be done about an error, "" where nothing is known.
func hintOf(err error) string {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Hint
	}
	return ""
}

// Look is what one look at the mesh has found.
type Look struct {
	At time.Time
	// Cluster is the name that has to be typed before the first change; Namespace is
	// istiod's.
	Cluster, Namespace string
	Check              check.Report
	// Verdict is the check's own sentence.
	Verdict  string
	Versions []Version
	Proof    Proof
	Envoys   []Envoy
	// Underway is the rotation that was begun and is not retired, nil where there is
	// none.
	Underway *Underway
}

// Version is the audit of one istiod, proxy or ztunnel.
type Version struct {
	Namespace, Name, Kind, Revision string
	Release, From                   string
	// Verdict is ok, unknown, info, warning or error.
	Verdict string
	// Rules say what is known against the release, the worst first.
	Rules []check.VersionRule
	// Possible are rules that cannot be ruled out.
	Possible []string
}

// Proof is the mesh held against what its own CA says.
type Proof struct {
	Proven bool
	// Error says why there is no proof at all.
	Error string
	// Roots name what everybody should trust.
	Roots   []string
	Status  rotation.Status
	Classes []check.Class
	Pairs   []check.Pair
}

// Envoy is what one live proxy has loaded.
type Envoy struct {
	Namespace, Name, Kind, Version string
	// State is read, swapping, expired or unreadable; Reason says more.
	State, Reason string
	// Evidence names where this is known from; Confirmed is true where live TLS
	// contexts use the leaf shown.
	Evidence                  string
	Confirmed                 bool
	SPIFFE, Serial, Issuer    string
	NotBefore, NotAfter       time.Time
	Roots                     []string
	LeafUpdated, RootsUpdated time.Time
}

// Underway is a rotation of before.
type Underway struct {
	ID       string
	Strategy rotation.Strategy
	Phase    rotation.Phase
	Step     string
	// Back is true where it was on its way back.
	Back   bool
	Holder string
	// Running is true where its holder is alive: it cannot be begun beside it.
	Running bool
	Started time.Time
	NewRoot string
}
