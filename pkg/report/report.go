package report

import (
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// Report is a rotation's journal beside the mesh as it is now.
type Report struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// At is when the mesh was read, by the cluster's clock; Source says from where.
	At        time.Time `json:"at"`
	Source    string    `json:"source"`
	Cluster   string    `json:"cluster,omitempty"`
	Namespace string    `json:"namespace"`
	// Verified is true where the mesh as it was read is proven; Verdict says it in one
	// sentence.
	Verified bool   `json:"verified"`
	Verdict  string `json:"verdict"`
	// Rotation is the record of the one reported, nil where none is known.
	Rotation *rotation.Journal `json:"rotation,omitempty"`
	Gates    []Gate            `json:"gates,omitempty"`
	// Roots are those that everybody should trust.
	Roots   []Certificate   `json:"roots"`
	Status  rotation.Status `json:"status"`
	Classes []check.Class   `json:"classes,omitempty"`
	// Pairs of classes were asked whether they accept each other; Refused would not.
	Pairs   int          `json:"pairs"`
	Refused []check.Pair `json:"refused,omitempty"`
	Proxies []Proxy      `json:"proxies"`
	// NotProven is all that nothing in this report vouches for.
	NotProven []Gap `json:"notProven"`
}

// Gate is what had to be true before a rotation went on, and what it rested on.
type Gate struct {
	rotation.JournalGate
	// Exceptions were unknown and accepted by name; Restarts were made for it.
	Exceptions []rotation.Exception      `json:"exceptions,omitempty"`
	Restarts   []rotation.JournalRestart `json:"restarts,omitempty"`
}

// Proxy is the proof of one live proxy.
type Proxy struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Kind      string `json:"proxyKind"`
	Version   string `json:"version,omitempty"`
	// Proven is true where it is as everybody should be; Why says what is not.
	Proven    bool             `json:"proven"`
	Why       string           `json:"why,omitempty"`
	Evidence  string           `json:"evidence,omitempty"`
	Confirmed bool             `json:"leafConfirmed"`
	SPIFFE    string           `json:"spiffe,omitempty"`
	Serial    string           `json:"serial,omitempty"`
	Issuer    string           `json:"issuer,omitempty"`
	NotBefore time.Time        `json:"notBefore,omitzero"`
	NotAfter  time.Time        `json:"notAfter,omitzero"`
	Roots     []rotation.Brief `json:"roots,omitempty"`
}

// Certificate names one, with its life.
type Certificate struct {
	Subject     string          `json:"subject"`
	Fingerprint pki.Fingerprint `json:"fingerprint"`
	NotBefore   time.Time       `json:"notBefore,omitzero"`
	NotAfter    time.Time       `json:"notAfter,omitzero"`
}

// Gap is one thing that is not proven.
type Gap struct {
	Object string `json:"object"`
	Why    string `json:"why"`
	// Unknown is true where it could not be seen, false where it was seen to be wrong.
	Unknown bool `json:"unknown,omitempty"`
}

// GatesOf puts what a journal remembers of each gate together, the first one first.
func GatesOf(j *rotation.Journal) []Gate {
	if j == nil {
		return nil
	}
	var all []Gate
	told := map[rotation.Phase]bool{}
	for _, g := range j.Gates {
		gate := Gate{JournalGate: g}
		if !told[g.Phase] { // the journal keeps both by phase, and says each once
			told[g.Phase] = true
			for _, x := range j.Exceptions {
				if x.Phase == g.Phase {
					gate.Exceptions = append(gate.Exceptions, x)
				}
			}
			for _, r := range j.Restarts {
				if r.Phase == g.Phase {
					gate.Restarts = append(gate.Restarts, r)
				}
			}
		}
		all = append(all, gate)
	}
	return all
}
