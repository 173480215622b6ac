package pki

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// LintPair looks at old and new CA together: a mesh meets both for a while. Either
// may be without a key. What each is like by itself is for LintAuthority.
func LintPair(old, new *Authority, _ time.Time) []Finding {
	l := newLinter()
	if old == nil || new == nil || old.Cert == nil || new.Cert == nil || len(old.Roots.Certs) == 0 || len(new.Roots.Certs) == 0 {
		l.add("incomplete", "CA", "of the old or the new CA the signing certificate or the root is missing")
		return l.found
	}
	trusted := NewSet(slices.Concat(old.Roots.Certs, new.Roots.Certs)...)
	all := distinct(slices.Concat(roles(old), roles(new)))
	for _, n := range roles(new) {
		for _, o := range roles(old) {
			l.twins(o, n, trusted.Has(o) || trusted.Has(n), all)
		}
	}
	l.roots(old, new)
	l.reuse(old, new)
	for _, c := range append([]*Certificate{new.Cert}, new.Chain...) {
		if c.X509 != nil && !selfSigned(c) && old.Roots.Set().Has(c) {
			l.add("intermediate-trusted", c.Subject(), "the old root bundle holds it, and it is no root")
		}
	}
	had := map[string]bool{}
	for _, c := range roles(old) {
		if c.X509 != nil {
			had[constraints(c.X509)] = true
		}
	}
	for _, c := range roles(new) {
		if c.X509 != nil && !had[constraints(c.X509)] {
			if text := constraints(c.X509); text != "" {
				l.add("constraints-differ", c.Subject(), "its name constraints "+text)
			}
		}
	}
	return l.found
}

// roles are the certificates of a CA that peers look issuers up among.
func roles(a *Authority) []*Certificate {
	all := append([]*Certificate{a.Cert}, a.Chain...)
	return distinct(append(all, a.Roots.Certs...))
}

// twins looks at two certificates that peers may take for one another. Where at
// least one is trusted, every peer that trusts it meets both as candidates for an
// issuer; where neither is, a peer meets only the one that is presented to it. all
// are the certificates that may have been issued by either.
func (l *linter) twins(o, n *Certificate, trusted bool, all []*Certificate) {
	if o.X509 == nil || n.X509 == nil || o.Equal(n) || !sameName(o.X509.RawSubject, n.X509.RawSubject) {
		return
	}
	name := n.Subject()
	grave := SeverityWarning
	if trusted {
		grave = SeverityError
	}
	var issued []*Certificate // under that name
	for _, c := range all {
		if c.X509 != nil && !selfSigned(c) && sameName(c.X509.RawIssuer, n.X509.RawSubject) {
			issued = append(issued, c)
		}
	}
	sameID := bytes.Equal(o.X509.SubjectKeyId, n.X509.SubjectKeyId)
	switch {
	case SameKey(o.X509.PublicKey, n.X509.PublicKey) && !sameID:
		l.addAs(grave, "same-key-other-ski", name, fmt.Sprintf("%s and %s have one name and one key, and differ in the subject key identifier", o.Fingerprint().Short(), n.Fingerprint().Short()))
	case SameKey(o.X509.PublicKey, n.X509.PublicKey) && (!selfSigned(o) || !selfSigned(n)):
		// a root and its cross certificate, or two of them: as it should be
	case SameKey(o.X509.PublicKey, n.X509.PublicKey):
		l.add("same-key", name, fmt.Sprintf("%s and %s have one name and one key: this is a re-issue", o.Fingerprint().Short(), n.Fingerprint().Short()))
		for _, c := range issued {
			if aki := authorityKeyID(c.X509); aki.serial != nil && (aki.serial.Cmp(o.X509.SerialNumber) != 0 || aki.serial.Cmp(n.X509.SerialNumber) != 0) {
				l.addAs(grave, "same-key-aki-serial", c.Subject(), fmt.Sprintf("it names serial number %x of its issuer %s, which is re-issued", aki.serial, name))
			}
		}
	case sameID || len(o.X509.SubjectKeyId) == 0 || len(n.X509.SubjectKeyId) == 0 ||
		slices.ContainsFunc(issued, func(c *Certificate) bool { return len(authorityKeyID(c.X509).keyID) == 0 }):
		l.addAs(grave, "same-name-no-ids", name, fmt.Sprintf("%s and %s have one name and two keys, and not all key identifiers that tell them apart", o.Fingerprint().Short(), n.Fingerprint().Short()))
	default:
		l.add("same-name", name, fmt.Sprintf("%s and %s have one name and two keys: only the key identifiers tell them apart", o.Fingerprint().Short(), n.Fingerprint().Short()))
	}
}

// roots looks at both roots, the first of each bundle.
func (l *linter) roots(old, new *Authority) {
	o, n := old.Roots.Certs[0], new.Roots.Certs[0]
	if old.Roots.Set().Has(n) {
		l.add("root-known", n.Subject(), "the old root bundle holds it already")
	}
	if o.X509 == nil || n.X509 == nil || o.Equal(n) {
		return
	}
	if n.X509.NotAfter.Before(o.X509.NotAfter) {
		l.add("shorter-life", n.Subject(), fmt.Sprintf("it ends at %s, the old root %s at %s", stamp(n.X509.NotAfter), o.Subject(), stamp(o.X509.NotAfter)))
	}
	need := 1 // the cross certificate
	for _, c := range append([]*Certificate{new.Cert}, new.Chain...) {
		if c.X509 != nil && !selfSigned(c) {
			need++
		}
	}
	if limit := pathLen(o.X509); limit >= 0 && limit < need && !old.Roots.Set().Has(n) {
		l.add("no-cross-path", o.Subject(), fmt.Sprintf("its path length is %d; a cross certificate and the new chain need %d", limit, need))
	}
}

// reuse finds keys that go on living under another name.
func (l *linter) reuse(old, new *Authority) {
	if old.Cert.Equal(new.Cert) {
		l.add("same-signer", new.Cert.Subject(), "it signs already")
		return
	}
	for _, n := range roles(new) {
		for _, o := range roles(old) {
			if o.X509 != nil && n.X509 != nil && SameKey(o.X509.PublicKey, n.X509.PublicKey) && !sameName(o.X509.RawSubject, n.X509.RawSubject) {
				l.add("key-reused", n.Subject(), "it has the key of "+o.Subject())
			}
		}
	}
}
