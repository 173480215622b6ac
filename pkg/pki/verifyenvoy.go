package pki

import (
	"bytes"
	"crypto/x509"
	"slices"
	"strings"
	"time"
)

// The rules of Envoy: BoringSSL's X509_verify_cert with trusted certificates
// first and partial chains allowed (boringssl crypto/x509/x509_vfy.cc; envoy
// source/common/tls/cert_validator/default_validator.cc). Seen on Envoy 1.36 to
// 1.40; test/envoys holds this file against real ones.
const (
	// firstKnownMinor is the oldest Envoy whose picks are known.
	firstKnownMinor = 36
	// maxPicks bounds how many ways through a bundle are tried.
	maxPicks = 256
)

// envoyPath is one way that the verifier may go.
type envoyPath struct {
	certs []*Certificate
	// untrusted is how many of certs, from the leaf on, are presented and not from
	// the bundle.
	untrusted int
}

func envoyVerify(q Question) Answer {
	for _, c := range slices.Concat(q.Chain, q.Roots) {
		if c.X509 == nil {
			return depends("%s cannot be parsed here, and may be by Envoy: %v", c.Subject(), c.Err)
		}
	}
	trusted := distinct(q.Roots)
	climb := []*Certificate{q.Chain[0]}
	left := slices.Clone(q.Chain[1:])
	// The presented ones are climbed only until a trusted issuer is found; one pick,
	// no going back.
	for {
		current := climb[len(climb)-1]
		if selfSigned(current) || len(issuersOf(current, trusted)) > 0 {
			break
		}
		i := slices.IndexFunc(left, func(c *Certificate) bool { return mayIssue(c, current) })
		if i < 0 {
			break
		}
		climb = append(climb, left[i])
		left = slices.Delete(left, i, i+1)
	}
	paths, answer := trustedPaths(climb, trusted)
	if len(paths) == 0 {
		return answer
	}
	return q.weigh(paths, trusted)
}

// weigh judges every path that may be picked: yes only where each leads to yes.
func (q Question) weigh(paths []envoyPath, trusted []*Certificate) Answer {
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
	case len(no) == len(paths):
		return no[0]
	case len(no) > 0:
		return depends("%d certificates may be picked as an issuer, and not all lead to yes: %s", len(paths), no[0].Reason)
	case len(open) > 0:
		return open[0]
	case len(paths) >= maxPicks:
		return depends("too many ways lead through this bundle")
	}
	if q.EnvoyMinor > 0 && q.EnvoyMinor < firstKnownMinor {
		if len(paths) > 1 {
			return depends("several trusted issuers fit, and which one Envoy 1.%d picks is not known", q.EnvoyMinor)
		}
		if anchor := yes[0].Path[len(yes[0].Path)-1]; !selfSigned(anchor) || len(yes[0].Path)-paths[0].untrusted > 1 {
			return depends("an intermediate is trusted, and what Envoy 1.%d makes of that is not known", q.EnvoyMinor)
		}
	}
	return yes[0]
}

// trustedPaths lists every way from the presented climb on through the bundle.
func trustedPaths(climb, trusted []*Certificate) ([]envoyPath, Answer) {
	last := climb[len(climb)-1]
	if selfSigned(last) {
		if len(climb) == 1 {
			if NewSet(trusted...).Has(last) {
				return []envoyPath{{certs: climb, untrusted: 0}}, Answer{}
			}
			return nil, refused("the leaf %s is self-signed and not trusted", last.Subject())
		}
		return nil, refused("the chain ends in %s, which is self-signed and not trusted", last.Subject())
	}
	if len(issuersOf(last, trusted)) == 0 {
		if NewSet(trusted...).Has(climb[0]) {
			if len(climb) == 1 {
				return []envoyPath{{certs: climb, untrusted: 0}}, Answer{}
			}
			return nil, depends("the leaf itself is trusted, and an issuer is presented that is not")
		}
		return nil, refused("no issuer of %s is trusted or presented (its issuer is %s)", last.Subject(), issuerName(last))
	}
	var paths []envoyPath
	untrusted := len(climb)
	var walk func(path []*Certificate)
	walk = func(path []*Certificate) {
		if len(paths) >= maxPicks {
			return
		}
		current := path[len(path)-1]
		var next []*Certificate
		if !selfSigned(current) {
			next = issuersOf(current, trusted)
		}
		again := slices.ContainsFunc(next, func(c *Certificate) bool {
			return slices.ContainsFunc(path[untrusted:], c.Equal)
		})
		if len(next) == 0 || again {
			paths = append(paths, envoyPath{certs: slices.Clone(path), untrusted: untrusted})
			if again { // two that vouch for each other: where a release stops is not known
				paths[len(paths)-1].untrusted = -1
			}
			return
		}
		for _, c := range next {
			walk(append(slices.Clone(path), c))
		}
	}
	walk(climb)
	return paths, Answer{}
}

// judgePath applies what is checked once a path is picked.
func (q Question) judgePath(p envoyPath) Answer {
	if p.untrusted < 0 {
		return depends("trusted certificates vouch for each other in a circle")
	}
	// Of two ways to count, older releases pass over certificates whose subject is
	// their issuer, newer ones do not.
	length, all := 0, 0
	tooLong := -1
	for i, c := range p.certs {
		x := c.X509
		if answer, ok := inTime(c, q.At); !ok {
			return answer
		}
		if i+1 < len(p.certs) {
			if answer, ok := signatureHolds(c, p.certs[i+1]); !ok {
				return answer
			}
		}
		if i >= p.untrusted {
			continue // path length, usages and the rest of a trusted one do not count
		}
		if oid := unhandled(x); oid != "" {
			return refused("%s has the critical extension %s, which is unknown", c.Subject(), oid)
		}
		if i > 0 && !isCA(x) {
			return refused("%s is not a CA and has signed %s", c.Subject(), p.certs[i-1].Subject())
		}
		if answer, ok := q.mayBeUsed(c, i == 0); !ok {
			return answer
		}
		if contradicts(x) {
			return refused("%s has a path length and is no CA", c.Subject())
		}
		selfIssued := sameName(x.RawSubject, x.RawIssuer)
		if limit := pathLen(x); i > 1 && limit >= 0 && all > limit+1 {
			if !selfIssued && length > limit+1 {
				return refused("%s allows %d intermediates below it, and %d are there", c.Subject(), limit, length-1)
			}
			tooLong = i
		}
		all++
		if !selfIssued {
			length++
		}
	}
	if tooLong >= 0 {
		return depends("%s allows %d intermediates below it, and whether self-issued ones count differs between releases", p.certs[tooLong].Subject(), pathLen(p.certs[tooLong].X509))
	}
	if answer, ok := constraintsHold(p.certs); !ok {
		return answer
	}
	return accepted(p.certs)
}

func inTime(c *Certificate, at time.Time) (Answer, bool) {
	switch x := c.X509; {
	case at.Before(x.NotBefore):
		return refused("%s is not valid before %s", c.Subject(), x.NotBefore.UTC().Format(time.RFC3339)), false
	case at.After(x.NotAfter):
		return refused("%s expired at %s", c.Subject(), x.NotAfter.UTC().Format(time.RFC3339)), false
	}
	return Answer{}, true
}

// mayBeUsed checks extended key usage, which nests, and the leaf's key usage.
func (q Question) mayBeUsed(c *Certificate, leaf bool) (Answer, bool) {
	x := c.X509
	want, bits := x509.ExtKeyUsageClientAuth, x509.KeyUsageDigitalSignature|x509.KeyUsageKeyAgreement
	switch q.Usage {
	case AnyUsage:
		return Answer{}, true
	case ServerAuth:
		want, bits = x509.ExtKeyUsageServerAuth, x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment|x509.KeyUsageKeyAgreement
	}
	if (len(x.ExtKeyUsage) > 0 || len(x.UnknownExtKeyUsage) > 0) && !slices.Contains(x.ExtKeyUsage, want) {
		if slices.Contains(x.ExtKeyUsage, x509.ExtKeyUsageAny) {
			return depends("%s has the usage \"any\" and not %s", c.Subject(), q.Usage), false
		}
		return refused("%s is not for use as a %s (extended key usage)", c.Subject(), q.Usage), false
	}
	if leaf && x.KeyUsage != 0 && x.KeyUsage&bits == 0 {
		return refused("%s may not sign a handshake (key usage)", c.Subject()), false
	}
	return Answer{}, true
}

// issuersOf are the certificates of from that may have issued c.
func issuersOf(c *Certificate, from []*Certificate) []*Certificate {
	var all []*Certificate
	for _, candidate := range from {
		if mayIssue(candidate, c) {
			all = append(all, candidate)
		}
	}
	return all
}

// mayIssue is X509_check_issued: by name, key ids and key usage. The signature is
// looked at only after the pick.
func mayIssue(issuer, c *Certificate) bool {
	return sameName(issuer.X509.RawSubject, c.X509.RawIssuer) && keyIDFits(issuer.X509, c.X509) && maySignCerts(issuer.X509) &&
		!contradicts(issuer.X509) && !contradicts(c.X509)
}

// contradicts: a path length on what is no CA makes the whole certificate invalid
// (boringssl crypto/x509/v3_purp.cc, EXFLAG_INVALID): it is nobody's issuer.
func contradicts(x *x509.Certificate) bool {
	return x.BasicConstraintsValid && !x.IsCA && pathLen(x) >= 0
}

// selfSigned by name and key ids, as the verifier sees it.
func selfSigned(c *Certificate) bool {
	return sameName(c.X509.RawSubject, c.X509.RawIssuer) && keyIDFits(c.X509, c.X509) && maySignCerts(c.X509)
}

func maySignCerts(x *x509.Certificate) bool {
	return x.KeyUsage == 0 || x.KeyUsage&x509.KeyUsageCertSign != 0
}

// keyIDFits compares the authority key identifier of c with the candidate: the
// key id where both have one, issuer and serial number where the AKI carries them.
func keyIDFits(issuer, c *x509.Certificate) bool {
	aki := authorityKeyID(c)
	if len(aki.keyID) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(aki.keyID, issuer.SubjectKeyId) {
		return false
	}
	if aki.serial != nil && aki.serial.Cmp(issuer.SerialNumber) != 0 {
		return false
	}
	return len(aki.issuer) == 0 || sameName(aki.issuer, issuer.RawIssuer)
}

func isCA(x *x509.Certificate) bool {
	return x.Version == 3 && x.BasicConstraintsValid && x.IsCA && maySignCerts(x)
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

// unhandled names a critical extension that BoringSSL does not know.
func unhandled(x *x509.Certificate) string {
	for _, e := range x.Extensions {
		if !e.Critical {
			continue
		}
		switch e.Id.String() {
		case "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.37", // KU, SAN, BC, NC, EKU
			"2.5.29.32", "2.5.29.33", "2.5.29.36", "2.5.29.54": // policies
		default:
			return e.Id.String()
		}
	}
	return ""
}

// constraintsHold applies name constraints of every certificate of the path to
// those below it. Kinds of names that Go does not parse are not guessed at.
func constraintsHold(path []*Certificate) (Answer, bool) {
	for i := len(path) - 1; i > 0; i-- {
		x := path[i].X509
		if !slices.ContainsFunc(x.Extensions, func(e extension) bool { return e.Id.String() == "2.5.29.30" }) {
			continue
		}
		if len(x.PermittedIPRanges)+len(x.ExcludedIPRanges)+len(x.PermittedEmailAddresses)+len(x.ExcludedEmailAddresses) > 0 ||
			slices.ContainsFunc(x.UnhandledCriticalExtensions, func(o oid) bool { return o.String() == "2.5.29.30" }) ||
			len(x.PermittedURIDomains)+len(x.ExcludedURIDomains)+len(x.PermittedDNSDomains)+len(x.ExcludedDNSDomains) == 0 {
			return depends("%s has name constraints of a kind that is not judged here", path[i].Subject()), false
		}
		for _, below := range path[:i] {
			for _, u := range below.X509.URIs {
				host, _, _ := strings.Cut(u.Host, ":")
				if !allowed(host, x.PermittedURIDomains, x.ExcludedURIDomains, uriMatches) {
					return refused("%s is not within the name constraints of %s", u.String(), path[i].Subject()), false
				}
			}
			for _, name := range below.X509.DNSNames {
				if !allowed(name, x.PermittedDNSDomains, x.ExcludedDNSDomains, dnsMatches) {
					return refused("%s is not within the name constraints of %s", name, path[i].Subject()), false
				}
			}
		}
	}
	return Answer{}, true
}

func allowed(name string, permitted, excluded []string, matches func(name, base string) bool) bool {
	in := func(base string) bool { return matches(strings.ToLower(name), strings.ToLower(base)) }
	return (len(permitted) == 0 || slices.ContainsFunc(permitted, in)) && !slices.ContainsFunc(excluded, in)
}

// uriMatches: a leading period means one label or more, none means the host
// itself (RFC 5280 4.2.1.10).
func uriMatches(host, base string) bool {
	if strings.HasPrefix(base, ".") {
		return len(host) > len(base) && strings.HasSuffix(host, base)
	}
	return host == base
}

func dnsMatches(name, base string) bool {
	if base == "" || name == base {
		return true
	}
	return strings.HasSuffix(name, "."+strings.TrimPrefix(base, "."))
}
