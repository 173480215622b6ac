package pki

import "bytes"

// SignedBy reports whether the key of signer signed c: names alone do not say
// that, for two generations of a CA may share one. It holds by Go's rules, so that
// a signature by SHA-1 is none. Either may be nil.
func (c *Certificate) SignedBy(signer *Certificate) bool {
	return c != nil && signer != nil && c.X509 != nil && signer.X509 != nil && bytes.Equal(c.X509.RawIssuer, signer.X509.RawSubject) &&
		signer.X509.CheckSignature(c.X509.SignatureAlgorithm, c.X509.RawTBSCertificate, c.X509.Signature) == nil
}
