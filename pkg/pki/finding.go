package pki

// Severity is how much a finding matters.
type Severity string

const (
	// SeverityError stands for material that a judge refuses, or that would break
	// handshakes.
	SeverityError Severity = "error"
	// SeverityWarning stands for material that works today and will hurt later.
	SeverityWarning Severity = "warning"
	// SeverityInfo is a fact worth knowing.
	SeverityInfo Severity = "info"
)

// Finding is one thing that is wrong, or worth knowing, about CA material.
type Finding struct {
	// ID is stable: documentation and scripts refer to it.
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	// Subject names the object: a file, a Secret's key, a certificate.
	Subject string `json:"subject"`
	Message string `json:"message"`
	// Hint says what to do about it.
	Hint string `json:"hint"`
}
