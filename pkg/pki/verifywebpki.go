package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"time"
)

// maxWebpkiDepth is rustls-webpki's bound on intermediates
// (src/verify_cert.rs, MAX_SUB_CA_COUNT).
const maxWebpkiDepth = 6

// webpkiVerify follows rustls-webpki 0.103 and 0.104 (src/verify_cert.rs): it goes
// back and tries every path. Of an anchor only subject, key and name constraints
// count. Where the two releases differ it depends.
func webpkiVerify(q Question) Answer {
	chain := q.fieldsOf(q.Chain)
	leaf := chain[0]
	if leaf.broken != nil || leaf.odd != nil {
		return depends("%s cannot be judged here: %v", leaf.Subject(), cmpErr(leaf))
	}
	w := webpki{q: q, anchors: q.fieldsOf(q.Roots), presented: chain[1:], why: refused("no issuer of %s is trusted or presented", leaf.Subject())}
	if answer, ok := w.usable(leaf, true, 0); !ok {
		return answer
	}
	answer := w.climb([]*fields{leaf})
	if answer.Result == Refused && w.open.Result != "" {
		return w.open
	}
	return answer
}

func cmpErr(f *fields) error {
	if f.broken != nil {
		return f.broken
	}
	return f.odd
}

type webpki struct {
	q                  Question
	anchors, presented []*fields
	// why is the last refusal; open is something that might yet have led to yes.
	why, open Answer
}

func (w *webpki) note(a Answer) {
	if a.Result == Depends {
		w.open = a
	} else {
		w.why = a
	}
}

func (w *webpki) climb(path []*fields) Answer {
	current := path[len(path)-1]
	for _, anchor := range w.anchors {
		if anchor.broken != nil {
			w.note(depends("%s cannot be read here: %v", anchor.Subject(), anchor.broken))
			continue
		}
		if !bytes.Equal(anchor.subject, current.issuer) {
			continue
		}
		if anchor.version != 1 && !bytes.Equal(anchor.algorithm, anchor.inner) {
			// It does not parse (src/cert.rs, SignatureAlgorithmMismatch), and ztunnel leaves it
			// out of its roots (ztunnel src/tls/certificate.rs, add_parsable_certificates). Of
			// version 1 the algorithm is skipped.
			w.note(refused("%s names two signature algorithms: ztunnel leaves it out of its roots", anchor.Subject()))
			continue
		}
		if answer, ok := w.signed(current, anchor); !ok {
			w.note(answer)
			continue
		}
		whole := append(slices.Clone(path), anchor)
		if answer, ok := anchored(whole); !ok {
			w.note(answer)
			continue
		}
		certs := make([]*Certificate, len(whole))
		for i, f := range whole {
			certs[i] = f.Certificate
		}
		return accepted(certs)
	}
	if len(path) > maxWebpkiDepth {
		w.note(refused("more than %d intermediates", maxWebpkiDepth))
		return w.why
	}
	for _, next := range w.presented {
		if next.broken != nil || next.odd != nil {
			w.note(depends("%s cannot be judged here: %v", next.Subject(), cmpErr(next)))
			continue
		}
		again := func(f *fields) bool { return bytes.Equal(f.subject, next.subject) && bytes.Equal(f.spki, next.spki) }
		if !bytes.Equal(next.subject, current.issuer) || slices.ContainsFunc(path, again) {
			continue
		}
		if answer, ok := w.usable(next, false, len(path)-1); !ok {
			w.note(answer)
			continue
		}
		if answer, ok := w.signed(current, next); !ok {
			w.note(answer)
			continue
		}
		if answer := w.climb(append(slices.Clone(path), next)); answer.Result == Accepted {
			return answer
		}
	}
	return w.why
}

// anchored: name constraints are not judged for ztunnel, and a critical extension
// in an anchor is an error to 0.103 and ignored by 0.104.
func anchored(path []*fields) (Answer, bool) {
	for _, f := range path[1:] {
		if f.constrained {
			return depends("%s has name constraints, which are not judged here for ztunnel", f.Subject()), false
		}
	}
	anchor := path[len(path)-1]
	if anchor.version == 2 || anchor.odd != nil || anchor.unhandled(knownToWebpki) != "" {
		return depends("whether ztunnel takes %s for a root differs between releases", anchor.Subject()), false
	}
	return Answer{}, true
}

func knownToWebpki(id oid) bool {
	switch standard(id) {
	case extKeyUsage, extSAN, extBC, extNC, extCRLDP, extEKU:
		return true
	}
	return false
}

// usable checks one presented certificate; below is how many intermediates stand
// between it and the leaf.
func (w *webpki) usable(f *fields, leaf bool, below int) (Answer, bool) {
	at := w.q.At.Truncate(time.Second)
	switch {
	case at.Before(f.notBefore):
		return refused("%s is not valid before %s", f.Subject(), f.notBefore.UTC().Format(time.RFC3339)), false
	case at.After(f.notAfter):
		return refused("%s expired at %s", f.Subject(), f.notAfter.UTC().Format(time.RFC3339)), false
	case f.notBefore.Unix() < 0 || f.notAfter.Unix() < 0:
		// It does not parse: times are counted from 1970 on (rustls-webpki src/time.rs). An anchor's are skipped.
		return refused("%s has a date before 1970", f.Subject()), false
	case f.version != 3:
		return refused("%s is not of version 3", f.Subject()), false
	case f.unhandled(knownToWebpki) != "":
		return refused("%s has the critical extension %s, which is unknown", f.Subject(), f.unhandled(knownToWebpki)), false
	case leaf && f.ca:
		return refused("%s is a CA and is presented as a leaf", f.Subject()), false
	case !leaf && !f.ca:
		return refused("%s is not a CA", f.Subject()), false
	case !leaf && f.pathLen >= 0 && below > f.pathLen:
		return refused("%s allows %d intermediates below it, and %d are there", f.Subject(), f.pathLen, below), false
	case f.pathLen > 255:
		return depends("%s has a path length of %d", f.Subject(), f.pathLen), false
	}
	want := idClientAuth()
	if w.q.Usage == ServerAuth {
		want = idServerAuth()
	}
	if w.q.Usage != AnyUsage && f.hasEKU && !slices.ContainsFunc(f.eku, want.Equal) {
		return refused("%s is not for use as a %s (extended key usage)", f.Subject(), w.q.Usage), false
	}
	if f.hasKU && (f.ku&x509.KeyUsageCertSign != 0) == leaf { // since 0.104
		return depends("whether the key usage of %s is looked at differs between releases", f.Subject()), false
	}
	return Answer{}, true
}

// signed verifies with the algorithms that ztunnel's providers have in common: no
// SHA-1, RSA from 2048 bits on, P-256 and P-384.
func (w *webpki) signed(f, issuer *fields) (Answer, bool) {
	if s, ok := schemeOf(f.algorithm, f.X509); ok {
		// The algorithm is compared as bytes: of ECDSA with none, of RSA with a NULL for its
		// parameters. That of RSA without rustls-webpki has for ring and aws-lc, and BoringSSL's
		// provider does not (boring-rustls-provider src/verify/rsa.rs, signature_alg_id).
		switch bare := !bytes.HasSuffix(f.algorithm, []byte{5, 0}); {
		case s.family == "ecdsa" && !bare:
			return refused("%s names an ECDSA signature with parameters", f.Subject()), false
		case s.family == "rsa" && bare:
			return depends("%s names an RSA signature without parameters, which not every provider has", f.Subject()), false
		}
		switch key := issuer.key().(type) {
		case *rsa.PublicKey:
			if n := key.N.BitLen(); n < 2048 || n > 8192 || s.hash == crypto.SHA1 {
				return refused("%s is signed by RSA of %d bits with %s", f.Subject(), n, s.hash), false
			}
		case *ecdsa.PublicKey:
			if s.hash == crypto.SHA1 {
				return refused("%s is signed with %s", f.Subject(), s.hash), false
			}
			if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() || s.hash == crypto.SHA512 {
				return depends("%s is signed on %s with %s, which not every provider has", f.Subject(), key.Params().Name, s.hash), false
			}
		}
	}
	return f.signedBy(issuer)
}
