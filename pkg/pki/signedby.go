package pki

import (
	"bytes"
	"slices"
)

// SignedBy reports whether the key of signer signed c: names alone do not say
// that, for two generations of a CA may share one. It holds by Go's rules, so that
// a signature by SHA-1 is none. Either may be nil.
func (c *Certificate) SignedBy(signer *Certificate) bool {
	return c != nil && signer != nil && c.X509 != nil && signer.X509 != nil && bytes.Equal(c.X509.RawIssuer, signer.X509.RawSubject) &&
		signer.X509.CheckSignature(c.X509.SignatureAlgorithm, c.X509.RawTBSCertificate, c.X509.Signature) == nil
}

// SameCA reports whether both are certificates of one name and key, so that what the one
// has signed hangs from the other too. Either may be nil.
func (c *Certificate) SameCA(o *Certificate) bool {
	return c != nil && o != nil && c.X509 != nil && o.X509 != nil && bytes.Equal(c.X509.RawSubject, o.X509.RawSubject) &&
		bytes.Equal(c.X509.RawSubjectPublicKeyInfo, o.X509.RawSubjectPublicKeyInfo)
}

// Before is, among what is sent behind a leaf, another certificate of this intermediate's
// name and key, where this one itself is not sent; nil where there is none. An intermediate
// that is renewed with its key (cert-manager's rotationPolicy Never, its default before 1.18)
// has signed whatever its last certificate stands behind, so that SignedBy tells the two
// apart no more: peers are judged by the one that is sent, and that one ends first. Of a root
// it says nothing: that is looked up among those that a peer trusts.
func (c *Certificate) Before(sent []*Certificate) *Certificate {
	if c == nil || c.X509 == nil || bytes.Equal(c.X509.RawSubject, c.X509.RawIssuer) || slices.ContainsFunc(sent, c.Equal) {
		return nil
	}
	if i := slices.IndexFunc(sent, c.SameCA); i >= 0 {
		return sent[i]
	}
	return nil
}
