package proxy

import "slices"

// InUse says what the live TLS contexts tell of an identity's leaf: confirmed
// where one of them uses it, and the serial number of another leaf that one of
// them still uses, "" where none does. Contexts of inbound and outbound listeners
// change one after another; until all show the leaf the change has not arrived.
func (l *Loaded) InUse(i Identity) (confirmed bool, stale string) {
	leaf := i.Leaf()
	if leaf == nil || leaf.X509 == nil {
		return false, ""
	}
	serial := leaf.X509.SerialNumber.Text(16)
	for _, c := range l.Contexts {
		switch {
		case c.SPIFFE == "" || c.SPIFFE != i.SPIFFE || c.LeafSerial == "":
			// a gateway's own credential, or nothing that could be compared
		case c.LeafSerial == serial:
			confirmed = true
		case slices.ContainsFunc(l.Identities, func(other Identity) bool { return other.has(c.LeafSerial) }):
			// the certificate of its other side, where that is a file
		default:
			stale = c.LeafSerial
		}
	}
	return confirmed, stale
}

func (i Identity) has(serial string) bool {
	leaf := i.Leaf()
	return leaf != nil && leaf.X509 != nil && leaf.X509.SerialNumber.Text(16) == serial
}
