package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"time"
)

// The rules of Envoy: BoringSSL's X509_verify_cert with trusted certificates
// first and partial chains allowed (boringssl crypto/x509/x509_vfy.cc, v3_purp.cc
// at a0689af29; envoy source/common/tls/cert_validator/default_validator.cc).
// Seen on Envoy 1.36 to 1.40; test/envoys holds this file against real ones.
const (
	// firstKnownMinor is the oldest Envoy whose picks are known.
	firstKnownMinor = 36
	// firstTrustedFirst is an Envoy that has BoringSSL's 8f5eb80b8 of October 2021
	// for certain: before it, presented certificates came before trusted ones.
	firstTrustedFirst = 22
	// firstPartialChain takes an intermediate for an anchor (envoy changelogs/1.25.0.yaml,
	// enable_intermediate_ca, which is on by default).
	firstPartialChain = 25
	// maxPicks bounds how many ways through a bundle are tried.
	maxPicks = 256
	// maxDepth is Envoy's default max_verify_depth, less than BoringSSL counts.
	maxDepth = 100
)

// envoyPath is one way that the verifier may go.
type envoyPath struct {
	certs []*fields
	// untrusted is how many of certs, from the leaf on, are presented and not from
	// the bundle.
	untrusted int
	// long: it is longer than Envoy may follow.
	long bool
}

// EnvoyRules is the minor release that stands for all Envoys which judge as this one
// does: 0 for every one whose picks are known.
func EnvoyRules(minor int) int {
	if minor >= firstKnownMinor {
		return 0
	}
	return minor
}

func envoyVerify(q Question) Answer {
	trusted, chain := q.fieldsOf(distinct(q.Roots)), q.fieldsOf(q.Chain)
	if answer, ok := readable(trusted, chain); !ok {
		return answer
	}
	if chain[0].pathLenWithoutCA {
		return refused("%s has a path length and is no CA", chain[0].Subject())
	}
	climb, both := climbPresented(chain, trusted)
	paths, answer := trustedPaths(climb, trusted)
	if len(paths) == 0 {
		return answer
	}
	return q.weigh(paths, both)
}

// readable: of a certificate that may not load, or whose worth is not known,
// nothing is concluded where it could have a part.
func readable(trusted, chain []*fields) (Answer, bool) {
	all := slices.Concat(chain, trusted)
	for _, f := range all {
		if f.broken != nil {
			return depends("%s cannot be read here, and may or may not be by Envoy: %v", f.Subject(), f.broken), false
		}
	}
	for _, f := range all {
		if f.odd != nil && (f == chain[0] || slices.ContainsFunc(all, func(below *fields) bool { return below != f && below.issuerAs == f.subjectAs })) {
			return depends("%s cannot be judged here: %v", f.Subject(), f.odd), false
		}
	}
	return Answer{}, true
}

// climbPresented goes up the presented certificates until a trusted issuer is
// found: one pick, the first in the order sent, no going back. both: somewhere a
// trusted and a presented one fitted.
func climbPresented(chain, trusted []*fields) (climb []*fields, both bool) {
	climb = []*fields{chain[0]}
	left := slices.Clone(chain[1:])
	for {
		current := climb[len(climb)-1]
		if current.selfSigned() {
			return climb, both
		}
		i := slices.IndexFunc(left, func(c *fields) bool { return c.mayIssue(current) })
		if issuers := issuersOf(current, trusted); len(issuers) > 0 {
			// Where the presented one is the trusted one, as the roots are that agents send
			// along, it does not matter which is picked.
			return climb, i >= 0 && !slices.ContainsFunc(issuers, left[i].same)
		}
		if i < 0 {
			return climb, both
		}
		climb = append(climb, left[i])
		left = slices.Delete(left, i, i+1)
	}
}

// weigh judges every path that may be picked: yes only where each leads to yes.
func (q Question) weigh(paths []envoyPath, both bool) Answer {
	var yes, no, open []Answer
	for _, p := range paths {
		switch a := q.judgePath(p); a.Result {
		case Accepted:
			yes = append(yes, a)
		case Refused:
			no = append(no, a)
		default:
			open = append(open, a)
		}
	}
	switch {
	case len(paths) >= maxPicks:
		return depends("too many ways lead through this bundle")
	case len(no) == len(paths):
		return no[0]
	case len(no) > 0:
		return depends("%d certificates may be picked as an issuer, and not all lead to yes: %s", len(paths), no[0].Reason)
	case len(open) > 0:
		return open[0]
	}
	if q.EnvoyMinor > 0 && q.EnvoyMinor < firstKnownMinor {
		if len(paths) > 1 && !twinned(paths) {
			return depends("several trusted issuers fit, and which one Envoy 1.%d picks is not known", q.EnvoyMinor)
		}
		certs := paths[0].certs
		if anchor := certs[len(certs)-1]; !anchor.selfSigned() && q.EnvoyMinor < firstPartialChain {
			return depends("an intermediate is trusted, and what Envoy 1.%d makes of that is not known", q.EnvoyMinor)
		}
		if both && q.EnvoyMinor < firstTrustedFirst {
			return depends("a trusted and a presented certificate fit, and which one Envoy 1.%d picks is not known", q.EnvoyMinor)
		}
	}
	return yes[0]
}

// twinned: the paths differ in their anchors alone, and these are one self-signed root
// in several certificates: the same name, key and key identifier. Every release picks
// one of those that fit (boringssl crypto/x509/x509_lu.cc,
// X509_STORE_CTX_get1_issuer), and with any of them the same signatures hold.
func twinned(paths []envoyPath) bool {
	first := paths[0]
	top := len(first.certs) - 1
	anchor := first.certs[top]
	for _, p := range paths {
		if len(p.certs) != len(first.certs) || p.untrusted != top || !slices.Equal(p.certs[:top], first.certs[:top]) {
			return false
		}
		twin := p.certs[top]
		if !twin.selfSigned() || twin.X509 == nil || anchor.X509 == nil || twin.subjectAs != anchor.subjectAs ||
			!bytes.Equal(twin.X509.RawSubjectPublicKeyInfo, anchor.X509.RawSubjectPublicKeyInfo) || !bytes.Equal(twin.X509.SubjectKeyId, anchor.X509.SubjectKeyId) {
			return false
		}
	}
	return true
}

// trustedPaths lists every way from the presented climb on through the bundle.
func trustedPaths(climb, trusted []*fields) ([]envoyPath, Answer) {
	leaf, last := climb[0], climb[len(climb)-1]
	why := refused("no issuer of %s is trusted or presented (its issuer is %s)", last.Subject(), issuerName(last.Certificate))
	if last.selfSigned() {
		if len(climb) == 1 {
			// It must be picked as its own issuer.
			picks := issuersOf(leaf, trusted)
			if !slices.ContainsFunc(picks, leaf.same) {
				return nil, refused("the leaf %s is self-signed and not trusted", last.Subject())
			}
			if len(picks) > 1 {
				return nil, depends("the leaf is trusted, and so are others of its name that may be picked instead")
			}
			return []envoyPath{{certs: climb}}, Answer{}
		}
		why = refused("the chain ends in %s, which is self-signed and not trusted", last.Subject())
		climb = climb[:len(climb)-1]
	} else if len(issuersOf(last, trusted)) > 0 {
		return waysOn(climb, trusted), Answer{}
	}
	if slices.ContainsFunc(trusted, leaf.same) { // then all that was climbed counts as trusted
		return []envoyPath{{certs: climb}}, Answer{}
	}
	return nil, why
}

func waysOn(climb, trusted []*fields) []envoyPath {
	var paths []envoyPath
	untrusted := len(climb)
	var walk func(path []*fields)
	walk = func(path []*fields) {
		if len(paths) >= maxPicks {
			return
		}
		var next []*fields
		if current := path[len(path)-1]; !current.selfSigned() {
			next = issuersOf(current, trusted)
		}
		if len(next) == 0 || len(path) > maxDepth {
			paths = append(paths, envoyPath{certs: path, untrusted: untrusted, long: len(path) > maxDepth})
			return
		}
		for _, c := range next {
			longer := append(slices.Clone(path), c)
			if slices.Contains(path[untrusted:], c) {
				// Two that vouch for each other: Envoy goes round until the chain is as long as
				// it may be, and from here on meets only what it has met.
				paths = append(paths, envoyPath{certs: longer, untrusted: untrusted})
				continue
			}
			walk(longer)
		}
	}
	walk(climb)
	return paths
}

// judgePath applies what is checked once a path is picked.
func (q Question) judgePath(p envoyPath) Answer {
	if p.long {
		return depends("the chain is very long")
	}
	if top := p.certs[len(p.certs)-1]; q.whole && !top.selfSigned() {
		return refused("%s is not self-signed, and nothing above it is trusted", top.Subject())
	}
	for i, c := range p.certs {
		if answer, ok := c.inTime(q.At); !ok {
			return answer
		}
		if i+1 < len(p.certs) {
			if answer, ok := c.signedBy(p.certs[i+1]); !ok {
				return answer
			}
		}
	}
	// Path length, usages and the rest of a trusted one do not count.
	if answer, ok := q.presentedMay(p.certs[:p.untrusted]); !ok {
		return answer
	}
	if !q.nameless {
		if answer, ok := constraintsHold(p.certs, q.Usage); !ok {
			return answer
		}
	}
	if answer, ok := policiesHold(p.certs); !ok {
		return answer
	}
	if answer, ok := q.unrevoked(p); !ok {
		return answer
	}
	if answer, ok := q.maySignHandshake(p.certs[0]); !ok {
		return answer
	}
	certs := p.certs
	if p.untrusted == 0 {
		certs = certs[:1] // the leaf is the anchor; what was climbed beyond it is judged all the same
	}
	path := make([]*Certificate, len(certs))
	for i, c := range certs {
		path[i] = c.Certificate
	}
	return accepted(path)
}

// policiesHold looks whether a certificate below the anchor asks for a policy that those
// below it have not (boringssl crypto/x509/policy.cc, X509_policy_check). Nothing else
// asks for one: mapped and forbidden policies count only then.
func policiesHold(certs []*fields) (Answer, bool) {
	left := len(certs) + 1 // so many certificates until one is asked for
	var asks *fields
	for i := len(certs) - 2; i >= 0; i-- {
		c := certs[i]
		if c.oddPolicy != nil {
			return depends("%s cannot be judged here: %v", c.Subject(), c.oddPolicy), false
		}
		if left == 0 && !c.has(extPolicies) {
			return refused("%s asks for a policy, and %s has none", asks.Subject(), c.Subject()), false
		}
		if left > 0 && (i == 0 || !c.selfIssued()) {
			left--
		}
		if c.explicitPolicy >= 0 && c.explicitPolicy < left {
			left, asks = c.explicitPolicy, c
		}
	}
	switch {
	case left > 0:
		return Answer{}, true
	case !certs[0].has(extPolicies):
		return refused("%s asks for a policy, and %s has none", asks.Subject(), certs[0].Subject()), false
	}
	return depends("%s asks for a policy, and whether it is the right one is not judged here", asks.Subject()), false
}

// presentedMay checks what is asked of presented certificates only.
func (q Question) presentedMay(certs []*fields) (Answer, bool) {
	// BoringSSL counts path lengths in two ways: before May 2026 (ed00cfde0) it
	// passed over a self-issued leaf, and over the limits of self-issued ones.
	before, since := 0, 0
	for i, c := range certs {
		if id := c.unhandled(knownToBoringSSL); id != "" {
			return refused("%s has the critical extension %s, which is unknown", c.Subject(), id), false
		}
		if i > 0 && !c.isCA() {
			return refused("%s is not a CA and has signed %s", c.Subject(), certs[i-1].Subject()), false
		}
		if answer, ok := q.mayBeUsed(c, i == 0); !ok {
			return answer, false
		}
		if limit := c.pathLen; i > 1 && limit >= 0 {
			was, is := !c.selfIssued() && before > limit+1, since > limit+1
			switch {
			case was && is:
				return refused("%s allows %d intermediates below it, and more are there", c.Subject(), limit), false
			case was || is:
				return depends("%s allows %d intermediates below it, and whether self-issued ones count differs between releases", c.Subject(), limit), false
			}
		}
		if !c.selfIssued() {
			before++
		}
		if i == 0 || !c.selfIssued() {
			since++
		}
	}
	return Answer{}, true
}

// inTime: the last second itself is too late (X509_cmp_time_posix).
func (f *fields) inTime(at time.Time) (Answer, bool) {
	switch at = at.Truncate(time.Second); {
	case at.Before(f.notBefore):
		return refused("%s is not valid before %s", f.Subject(), f.notBefore.UTC().Format(time.RFC3339)), false
	case !at.Before(f.notAfter):
		return refused("%s expired at %s", f.Subject(), f.notAfter.UTC().Format(time.RFC3339)), false
	}
	return Answer{}, true
}

// mayBeUsed checks extended key usage, which nests, and the leaf's key usage.
func (q Question) mayBeUsed(f *fields, leaf bool) (Answer, bool) {
	want, bits := idClientAuth(), x509.KeyUsageDigitalSignature|x509.KeyUsageKeyAgreement
	switch q.Usage {
	case AnyUsage:
		return Answer{}, true
	case ServerAuth:
		want, bits = idServerAuth(), x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment|x509.KeyUsageKeyAgreement
	}
	if f.hasEKU && !slices.ContainsFunc(f.eku, want.Equal) { // "any" is not taken for it
		return refused("%s is not for use as a %s (extended key usage)", f.Subject(), q.Usage), false
	}
	if leaf && f.hasKU && f.ku&bits == 0 {
		return refused("%s may not sign a handshake (key usage)", f.Subject()), false
	}
	return Answer{}, true
}

// maySignHandshake is asked beside the chain, by TLS itself: a digital signature
// under TLS 1.3 and with the ciphers of 1.2 that a mesh uses, by a key that
// Envoy offers to verify (boringssl ssl/extensions.cc, kVerifySignatureAlgorithms).
func (q Question) maySignHandshake(leaf *fields) (Answer, bool) {
	if q.Usage == AnyUsage {
		return Answer{}, true
	}
	if leaf.hasKU && leaf.ku&x509.KeyUsageDigitalSignature == 0 {
		return depends("%s has no digital signature among its key usages, and TLS 1.3 asks for it", leaf.Subject()), false
	}
	switch key := leaf.key().(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() >= 2048 && key.N.BitLen() <= 8192 {
			return Answer{}, true
		}
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() {
			return Answer{}, true
		}
	}
	return depends("%s has a key that Envoy may not take in a handshake", leaf.Subject()), false
}

func idServerAuth() oid { return oid{1, 3, 6, 1, 5, 5, 7, 3, 1} }
func idClientAuth() oid { return oid{1, 3, 6, 1, 5, 5, 7, 3, 2} }

// issuersOf are the certificates of from that may have issued c.
func issuersOf(c *fields, from []*fields) []*fields {
	var all []*fields
	for _, candidate := range from {
		if candidate.mayIssue(c) {
			all = append(all, candidate)
		}
	}
	return all
}

// mayIssue is X509_check_issued: by name, key ids and key usage. The signature is
// looked at only after the pick. A path length on what is no CA makes the whole
// certificate invalid (EXFLAG_INVALID): it is nobody's issuer and has none.
func (f *fields) mayIssue(c *fields) bool {
	return f.subjectAs == c.issuerAs && f.fits(c.aki) && f.maySignCerts() && !f.pathLenWithoutCA && !c.pathLenWithoutCA
}

// selfSigned by name and key ids, as the verifier sees it.
func (f *fields) selfSigned() bool { return f.selfIssued() && f.fits(f.aki) && f.maySignCerts() }

func (f *fields) selfIssued() bool { return f.subjectAs == f.issuerAs }

// fits compares an authority key identifier with this certificate: the key id
// where both have one, issuer and serial number where the identifier has them.
func (f *fields) fits(aki authority) bool {
	return !(aki.hasKeyID && f.hasSKI && string(aki.keyID) != string(f.ski)) &&
		!(aki.serial != nil && aki.serial.Cmp(f.serial) != 0) && !(aki.hasName && aki.issuer != f.issuerAs)
}

func (f *fields) maySignCerts() bool { return !f.hasKU || f.ku&x509.KeyUsageCertSign != 0 }

func (f *fields) isCA() bool { return f.hasBC && f.ca && f.maySignCerts() }

func (f *fields) same(o *fields) bool { return f.Equal(o.Certificate) }

// unhandled names a critical extension that is not among those known.
func (f *fields) unhandled(known func(oid) bool) string {
	for _, id := range f.critical {
		if !known(id) {
			return id.String()
		}
	}
	return ""
}

// knownToBoringSSL is X509_supported_extension: the key identifiers are not in it.
func knownToBoringSSL(id oid) bool {
	switch standard(id) {
	case extKeyUsage, extSAN, extBC, extPolicies, extEKU, extPolicyConstraints, extNC, extMappings, extInhibitAny:
		return true
	}
	return false
}

// selfSigned is what Envoy takes for self-signed: by name and key ids.
func selfSigned(c *Certificate) bool {
	f := readFields(c)
	return f.broken == nil && f.odd == nil && f.selfSigned()
}

// mayIssue is whether Envoy may pick issuer for c's.
func mayIssue(issuer, c *Certificate) bool {
	i, f := readFields(issuer), readFields(c)
	return i.broken == nil && i.odd == nil && f.broken == nil && f.odd == nil && i.mayIssue(f)
}

func maySignCerts(x *x509.Certificate) bool {
	return x.KeyUsage == 0 || x.KeyUsage&x509.KeyUsageCertSign != 0
}

// contradicts: a path length on what is no CA makes the whole certificate invalid
// to Envoy.
func contradicts(x *x509.Certificate) bool {
	return x.BasicConstraintsValid && !x.IsCA && pathLen(x) >= 0
}

// pathLen is the path length constraint, -1 for none.
func pathLen(x *x509.Certificate) int {
	if !x.BasicConstraintsValid || x.MaxPathLen == 0 && !x.MaxPathLenZero {
		return -1
	}
	return x.MaxPathLen
}

func distinct(certs []*Certificate) []*Certificate {
	seen := Set{}
	var all []*Certificate
	for _, c := range certs {
		if !seen.Has(c) {
			seen[c.Fingerprint()] = c
			all = append(all, c)
		}
	}
	return all
}

func issuerName(c *Certificate) string {
	if c.X509 == nil {
		return "unknown"
	}
	return c.X509.Issuer.String()
}
