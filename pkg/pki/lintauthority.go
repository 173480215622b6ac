package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// largestRSA is the largest key that Go takes in the certificates of a handshake
// (crypto/tls maxRSAKeySize, since Go 1.20.7, CVE-2023-29409).
const largestRSA = 8192

// expiresSoon is when a CA's end is worth a word.
const expiresSoon = 60 * 24 * time.Hour

// LintAuthority looks at one CA at a moment as istiod, agents and proxies will. A
// CA without a key is looked at as far as its certificates go.
func LintAuthority(a *Authority, at time.Time) []Finding {
	l := newLinter()
	if a == nil || a.Cert == nil || len(a.Roots.Certs) == 0 {
		l.add("incomplete", "CA", "the signing certificate or the root is missing")
		return l.found
	}
	if a.Key != nil && a.Cert.X509 != nil && !a.KeyMatches() {
		l.add("wrong-key", a.Cert.Subject(), "the key is not that of the certificate")
	}
	// A chain as it lies in a Secret begins with the certificate itself.
	chain := distinct(append([]*Certificate{a.Cert}, a.Chain...))
	parsed := true
	for _, c := range chain {
		l.authority(c, at)
		parsed = parsed && c.X509 != nil
	}
	for i, c := range distinct(a.Roots.Certs) {
		if !NewSet(chain...).Has(c) {
			l.root(c, i == 0, at)
		} else if c.X509 != nil {
			l.noRoot(c)
		}
	}
	l.bundle(a.Roots, chain)
	if !parsed {
		return l.found
	}
	l.paths(a, chain, at)
	for _, c := range chain[1:] {
		if !slices.ContainsFunc(chain, func(below *Certificate) bool { return !below.Equal(c) && mayIssue(c, below) }) {
			l.add("stray-certificate", c.Subject(), "it is in the chain and issued none of it")
		}
	}
	if selfSigned(a.Cert) {
		l.add("root-signs", a.Cert.Subject(), "the root itself signs workloads: its key lies in the cluster")
	}
	return l.found
}

// authority looks at one certificate that is to be a CA and will be presented.
func (l *linter) authority(c *Certificate, at time.Time) {
	x := c.X509
	if x == nil {
		l.unparsable(c, c.Subject())
		return
	}
	name := c.Subject()
	l.dates(c, at, SeverityError)
	if !x.BasicConstraintsValid || !x.IsCA {
		l.add("not-a-ca", name, "it is no CA (basicConstraints)")
	}
	if !maySignCerts(x) {
		l.add("no-cert-sign", name, "its key usage does not allow to sign certificates")
	}
	if len(x.Subject.Names) == 0 {
		l.add("no-subject", name, "it has no subject")
	}
	switch x.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1, x509.MD5WithRSA, x509.MD2WithRSA:
		if !selfSigned(c) { // nobody checks an anchor's own signature
			l.add("weak-signature", name, "it is signed with "+x.SignatureAlgorithm.String()+", which istiod refuses")
		}
	}
	l.usages(c)
	if len(x.SubjectKeyId) == 0 {
		l.add("no-ski", name, "it has no subject key identifier")
	}
	aki := authorityKeyID(x)
	if len(aki.keyID) == 0 && !selfSigned(c) {
		l.add("no-aki", name, "it has no authority key identifier")
	}
	if aki.serial != nil || len(aki.issuer) > 0 {
		l.add("aki-serial", name, "its authority key identifier names the issuer's serial number")
	}
	if text := constraints(x); text != "" {
		l.add("name-constraints", name, "its name constraints "+text)
	}
	l.publicKey(c, SeverityError)
}

// usages looks at extended key usages, which nest.
func (l *linter) usages(c *Certificate) {
	if narrow(c.X509) {
		l.add("narrow-usage", c.Subject(), "its extended key usage does not hold both client and server")
	}
}

func narrow(x *x509.Certificate) bool {
	return len(x.ExtKeyUsage)+len(x.UnknownExtKeyUsage) > 0 &&
		(!slices.Contains(x.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || !slices.Contains(x.ExtKeyUsage, x509.ExtKeyUsageClientAuth))
}

// root looks at a certificate of the bundle; own is the one that the CA hangs from.
func (l *linter) root(c *Certificate, own bool, at time.Time) {
	severity := SeverityWarning
	if own {
		severity = SeverityError
	}
	if c.X509 == nil {
		l.unparsable(c, c.Subject())
		return
	}
	x, name := c.X509, c.Subject()
	l.dates(c, at, severity)
	if !x.BasicConstraintsValid || !x.IsCA {
		l.addAs(severity, "root-not-a-ca", name, "it is no CA and lies in the root bundle")
	}
	if !maySignCerts(x) {
		l.addAs(severity, "no-cert-sign", name, "its key usage does not allow to sign certificates")
	}
	if len(x.Subject.Names) == 0 {
		l.addAs(severity, "no-subject", name, "it has no subject")
	}
	if len(x.SubjectKeyId) == 0 {
		l.add("no-ski", name, "it has no subject key identifier")
	}
	l.noRoot(c)
	if text := constraints(x); own && text != "" {
		l.add("name-constraints", name, "its name constraints "+text)
	}
	l.publicKey(c, severity)
}

// noRoot: what lies in the bundle should be a root.
func (l *linter) noRoot(c *Certificate) {
	if !selfSigned(c) {
		l.add("root-not-self-signed", c.Subject(), "it lies in the root bundle and is no self-signed root")
	}
}

// bundle looks at the root bundle as a whole, and at what is presented beside it.
func (l *linter) bundle(b Bundle, chain []*Certificate) {
	if fault := faultOfBlocks(b.Raw); fault != nil { // the bytes travel to every proxy
		l.add(fault.id, "root bundle", fault.message)
	}
	certs := distinct(b.Certs)
	if len(certs) < len(b.Certs) {
		l.add("duplicate-root", "root bundle", "it holds a certificate more than once")
	}
	all := distinct(slices.Concat(chain, certs))
	for i, c := range certs {
		for _, earlier := range certs[:i] {
			l.twins(earlier, c, true, all)
		}
		for _, presented := range chain {
			l.twins(c, presented, true, all)
		}
	}
}

// paths asks the judges for the way from the CA to its roots.
func (l *linter) paths(a *Authority, chain []*Certificate, at time.Time) {
	name := a.Cert.Subject()
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	parsed := true
	for _, c := range a.Roots.Certs {
		if parsed = parsed && c.X509 != nil; c.X509 != nil { // istiod passes over what it cannot parse
			options.Roots.AddCert(c.X509)
		}
	}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c.X509)
	}
	paths, err := a.Cert.X509.Verify(options)
	if err != nil {
		l.add("no-path", name, "it does not chain to the root bundle: "+err.Error())
		return
	}
	roomy := slices.DeleteFunc(paths, func(path []*x509.Certificate) bool { return !roomForLeaf(path) })
	if len(roomy) == 0 {
		l.add("path-length", name, "with a leaf below it, its chain is longer than a path length allows")
	} else if !slices.ContainsFunc(roomy, func(path []*x509.Certificate) bool { return !slices.ContainsFunc(path, narrow) }) {
		for _, x := range roomy[0] { // Go asks the root for it too, Envoy does not
			l.usages(FromX509(x))
		}
	}
	l.lives(roomy)
	if !parsed {
		return
	}
	l.envoy(a, chain, at)
}

// envoy asks Envoy's rules what becomes of a leaf that the CA issues. A leaf's
// issuer is looked for among the trusted first: the CA's own certificate counts
// only where the bundle has none that could be taken for it. What names the leaf may
// have is for another rule.
func (l *linter) envoy(a *Authority, chain []*Certificate, at time.Time) {
	issuers := slices.DeleteFunc(distinct(a.Roots.Certs), func(c *Certificate) bool {
		same := len(c.X509.SubjectKeyId) == 0 || len(a.Cert.X509.SubjectKeyId) == 0 || slices.Equal(c.X509.SubjectKeyId, a.Cert.X509.SubjectKeyId)
		return !same || !sameName(c.X509.RawSubject, a.Cert.X509.RawSubject) || !maySignCerts(c.X509) || contradicts(c.X509)
	})
	if len(issuers) == 0 {
		issuers = []*Certificate{a.Cert}
	}
	var yes, no, open []string
	for _, issuer := range issuers {
		if !SameKey(issuer.X509.PublicKey, a.Cert.X509.PublicKey) {
			no = append(no, issuer.Subject()+" may be taken for the issuer of its leaves, and has another key")
			continue
		}
		answer := Verify(Question{Judge: Envoy, Roots: a.Roots.Certs, Chain: append([]*Certificate{issuer}, chain[1:]...), At: at, Usage: AnyUsage, nameless: true})
		switch answer.Result {
		case Accepted:
			yes = append(yes, answer.Reason)
		case Refused:
			no = append(no, answer.Reason)
		default:
			open = append(open, answer.Reason)
		}
	}
	name := a.Cert.Subject()
	switch {
	case len(no) == len(issuers):
		l.add("envoy-refuses", name, "Envoy would refuse its leaves: "+no[0])
	case len(yes) < len(issuers):
		l.add("envoy-depends", name, "it depends on the release of Envoy whether its leaves are accepted: "+append(no, open...)[0])
	}
}

// roomForLeaf reports whether a path from a CA up still holds when the CA issues a
// leaf. Go, verifying the CA itself, takes the CA for the leaf; istiod does no more
// (istio 1.30.3 security/pkg/pki/util/keycertbundle.go:344). Go counts self-issued
// certificates too, Envoy does not.
func roomForLeaf(path []*x509.Certificate) bool {
	for below, x := range path {
		if limit := pathLen(x); limit >= 0 && below > limit {
			return false
		}
	}
	return true
}

// lives finds certificates that end after the root, whichever path is taken.
func (l *linter) lives(paths [][]*x509.Certificate) {
	late := func(path []*x509.Certificate) int {
		root := path[len(path)-1]
		return slices.IndexFunc(path, func(x *x509.Certificate) bool { return x.NotAfter.After(root.NotAfter) })
	}
	if slices.ContainsFunc(paths, func(path []*x509.Certificate) bool { return late(path) < 0 }) {
		return
	}
	if len(paths) == 0 {
		return
	}
	x, root := paths[0][late(paths[0])], paths[0][len(paths[0])-1]
	l.add("outlives-root", FromX509(x).Subject(), fmt.Sprintf("it ends at %s, its root %s at %s", stamp(x.NotAfter), FromX509(root).Subject(), stamp(root.NotAfter)))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (l *linter) dates(c *Certificate, at time.Time, severity Severity) {
	x, name := c.X509, c.Subject()
	switch {
	case at.Before(x.NotBefore):
		l.addAs(severity, "not-yet-valid", name, "it is not valid before "+stamp(x.NotBefore))
	case at.After(x.NotAfter):
		l.addAs(severity, "expired", name, "it expired at "+stamp(x.NotAfter))
	case x.NotAfter.Sub(at) < expiresSoon:
		l.add("expires-soon", name, fmt.Sprintf("it expires in %d days", int(x.NotAfter.Sub(at).Hours()/24)))
	}
}

func (l *linter) publicKey(c *Certificate, severity Severity) {
	switch key := c.X509.PublicKey.(type) {
	case *rsa.PublicKey:
		switch bits := key.N.BitLen(); {
		case bits < 2048:
			l.addAs(severity, "weak-key", c.Subject(), fmt.Sprintf("its RSA key has %d bits", bits))
		case bits > largestRSA:
			l.addAs(severity, "huge-key", c.Subject(), fmt.Sprintf("its RSA key has %d bits", bits))
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			l.addAs(severity, "odd-curve", c.Subject(), "its curve is "+key.Curve.Params().Name)
		}
	default:
		l.addAs(severity, "odd-key", c.Subject(), "its key is neither RSA nor ECDSA")
	}
}

// constraints is what a certificate's name constraints say, "" where it has none.
func constraints(x *x509.Certificate) string {
	if !slices.ContainsFunc(x.Extensions, func(e extension) bool { return e.Id.String() == "2.5.29.30" }) {
		return ""
	}
	var parts []string
	for _, names := range []struct {
		what string
		all  []string
	}{
		{"permit URIs of", x.PermittedURIDomains}, {"exclude URIs of", x.ExcludedURIDomains},
		{"permit DNS names of", x.PermittedDNSDomains}, {"exclude DNS names of", x.ExcludedDNSDomains},
	} {
		if len(names.all) > 0 {
			parts = append(parts, names.what+" "+strings.Join(names.all, ", "))
		}
	}
	if len(parts) == 0 {
		return "are on other kinds of names than URIs and DNS names"
	}
	return strings.Join(parts, "; ")
}
