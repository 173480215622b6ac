package rotation

import (
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rotation/traffic"
)

// EventKind says what an Event tells.
type EventKind string

const (
	EventPlan    EventKind = "plan"    // what will be done
	EventPhase   EventKind = "phase"   // a phase begins
	EventWrite   EventKind = "write"   // an object was written
	EventRestart EventKind = "restart" // istiod is rolled
	EventGate    EventKind = "gate"    // a gate was looked at, and is still closed
	EventPassed  EventKind = "passed"  // a gate is open
	EventNudge   EventKind = "nudge"   // stragglers were sent the same roots once more
	EventWait    EventKind = "wait"    // a required wait begins
	EventWarning EventKind = "warning" // worth knowing, not in the way
	EventResume  EventKind = "resume"  // an earlier run is carried on
	EventStopped EventKind = "stopped" // --until, or --to on the way back, is reached
	EventDone    EventKind = "done"    // the proof stands

	EventRolledBack EventKind = "rolled-back" // the way back is at its end, and proven
	EventPaused     EventKind = "paused"      // nothing is written until it is resumed
	EventResumed    EventKind = "resumed"     // the operator lets it go on
	EventAccepted   EventKind = "accepted"    // the operator takes something unknown upon himself
	EventWorkload   EventKind = "workload"    // workloads are restarted
	EventFailed     EventKind = "failed"      // the run has ended before its proof
	EventEvidence   EventKind = "evidence"    // a line of istiod's log, beside the proof
)

// Event is one thing that happened, for printers and the wizard. It carries no
// key, and text of the cluster only as it came: whoever prints it escapes it.
type Event struct {
	Time  time.Time `json:"time"`
	Kind  EventKind `json:"kind"`
	Phase Phase     `json:"phase,omitempty"`
	Step  string    `json:"step,omitempty"`
	// Object is what was written, restarted or waited for.
	Object  string `json:"object,omitempty"`
	Message string `json:"message"`
	// Until is when a wait of known length ends, set for wait.
	Until time.Time `json:"until,omitzero"`
	// Gate is set for gate and passed, Plan for plan, Figures for how it ended.
	Gate    *Status  `json:"gate,omitempty"`
	Plan    *Plan    `json:"plan,omitempty"`
	Figures *Figures `json:"figures,omitempty"`
	// Managed is set for plan, where cert-manager writes the CA.
	Managed *Managed `json:"managed,omitempty"`
	// Traffic is set for passed, where counters were read.
	Traffic *traffic.Verdict `json:"traffic,omitempty"`
}

// Figures are what a rotation took.
type Figures struct {
	// Engine is the time from the first write to the last proof without the waits
	// that were asked for, Waits those waits; both in seconds.
	Engine float64 `json:"engineSeconds"`
	Waits  float64 `json:"waitSeconds"`
	// Restarts are pods of istiod that were replaced, Nudges the extra pushes.
	Restarts int `json:"istiodRestarts"`
	Nudges   int `json:"nudges"`
	// Workloads are pods of workloads that were replaced.
	Workloads int `json:"workloadRestarts"`
	Proxies   int `json:"proxies"`
}
