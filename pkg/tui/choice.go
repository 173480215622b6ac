package tui

import "github.com/meshca/kubectl-meshca/pkg/rotation"

// Reason is why one rotates.
type Reason string

const (
	Expiring    Reason = "expiring"
	Compromised Reason = "compromised"
	Move        Reason = "move"
)

// Choice is what an operator asks of a rotation: what rotate's flags say.
type Choice struct {
	Reason Reason
	// Strategy is "" for the best that is possible.
	Strategy rotation.Strategy
	// Resume carries on the rotation under way: its CA is in the cluster.
	Resume bool
	// Back takes it back instead; it comes with Resume.
	Back bool
	// Make has root and intermediate made here; Renew has the mesh's own root certified
	// anew, with the key that it has; otherwise the files name them.
	Make, Renew                bool
	Root, Cert, Key, ChainFile string
	// OldRootKey is the file of the old root's key, for a cross certificate.
	OldRootKey string
	// SealedFile takes the copy of old and new CA, sealed to a passphrase or to an
	// age recipient.
	SealedFile, Recipient string
	Passphrase            string
}
