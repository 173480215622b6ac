package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"slices"
)

// maxWebpkiDepth is rustls-webpki's bound on intermediates
// (src/verify_cert.rs, MAX_SUB_CA_COUNT).
const maxWebpkiDepth = 6

// webpkiVerify follows rustls-webpki (src/verify_cert.rs): it goes back and tries
// every path. Of an anchor only subject, key and name constraints count.
func webpkiVerify(q Question) Answer {
	for _, c := range q.Chain {
		if c.X509 == nil {
			return refused("%s: %v", c.Subject(), c.Err)
		}
	}
	leaf := q.Chain[0]
	if leaf.X509.IsCA {
		return refused("%s is a CA and is presented as a leaf", leaf.Subject())
	}
	w := webpki{q: q, why: refused("no issuer of %s is trusted or presented", leaf.Subject())}
	if answer, ok := w.usable(leaf, true, 0); !ok {
		return answer
	}
	return w.climb([]*Certificate{leaf})
}

type webpki struct {
	q   Question
	why Answer
}

func (w *webpki) climb(path []*Certificate) Answer {
	current := path[len(path)-1]
	for _, anchor := range w.q.Roots {
		if anchor.X509 == nil || !bytes.Equal(anchor.X509.RawSubject, current.X509.RawIssuer) {
			continue
		}
		if !w.signed(current, anchor) {
			w.why = refused("%s is not signed by the key of %s", current.Subject(), anchor.Subject())
			continue
		}
		whole := append(slices.Clone(path), anchor)
		for _, c := range whole[1:] {
			if slices.ContainsFunc(c.X509.Extensions, func(e extension) bool { return e.Id.String() == "2.5.29.30" }) {
				return depends("%s has name constraints, which are not judged here for ztunnel", c.Subject())
			}
		}
		return accepted(whole)
	}
	if len(path) > maxWebpkiDepth {
		return refused("more than %d intermediates", maxWebpkiDepth)
	}
	for _, next := range w.q.Chain[1:] {
		if !bytes.Equal(next.X509.RawSubject, current.X509.RawIssuer) || slices.ContainsFunc(path, next.Equal) {
			continue
		}
		if answer, ok := w.usable(next, false, len(path)-1); !ok {
			w.why = answer
			continue
		}
		if !w.signed(current, next) {
			w.why = refused("%s is not signed by the key of %s", current.Subject(), next.Subject())
			continue
		}
		if answer := w.climb(append(slices.Clone(path), next)); answer.Result != Refused {
			return answer
		}
	}
	return w.why
}

// usable checks one presented certificate; below is how many intermediates stand
// between it and the leaf.
func (w *webpki) usable(c *Certificate, leaf bool, below int) (Answer, bool) {
	x := c.X509
	if answer, ok := inTime(c, w.q.At); !ok {
		return answer, false
	}
	switch {
	case x.Version != 3:
		return refused("%s is not of version 3", c.Subject()), false
	case unhandled(x) != "":
		return refused("%s has the critical extension %s, which is unknown", c.Subject(), unhandled(x)), false
	case !leaf && (!x.BasicConstraintsValid || !x.IsCA):
		return refused("%s is not a CA", c.Subject()), false
	case !leaf && pathLen(x) >= 0 && below > pathLen(x):
		return refused("%s allows %d intermediates below it, and %d are there", c.Subject(), pathLen(x), below), false
	case !leaf && !maySignCerts(x):
		return depends("%s may not sign certificates (key usage), which not every release asks", c.Subject()), false
	}
	return w.q.mayBeUsed(c, false)
}

// signed verifies with the algorithms that ztunnel's provider has: no SHA-1, RSA
// from 2048 bits on, P-256 and P-384.
func (w *webpki) signed(c, issuer *Certificate) bool {
	switch key := issuer.X509.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 || key.N.BitLen() > 8192 {
			return false
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return false
		}
	}
	switch c.X509.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.PureEd25519:
	default:
		return false
	}
	return issuer.X509.CheckSignature(c.X509.SignatureAlgorithm, c.X509.RawTBSCertificate, c.X509.Signature) == nil
}
