package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// expiresSoon is when a CA's end is worth a word.
const expiresSoon = 60 * 24 * time.Hour

// LintFiles looks at the files' bytes, before anything is parsed.
func LintFiles(f Files) []Finding {
	var l findings
	for _, file := range []File{f.Root, f.CACert, f.CAKey, f.Chain} {
		if len(file.Data) == 0 {
			continue
		}
		switch {
		case bytes.Contains(file.Data, []byte("\r")):
			l.add("crlf", SeverityError, file.Name, "it has CR line ends", "rewrite it with LF line ends (dos2unix): istiod before 1.30 compares bundles byte for byte, and the bytes travel to every proxy")
		case bytes.HasPrefix(file.Data, []byte("\xef\xbb\xbf")):
			l.add("byte-order-mark", SeverityError, file.Name, "it begins with a byte order mark", "save it as plain ASCII")
		case !bytes.HasSuffix(file.Data, []byte("\n")):
			l.add("no-newline", SeverityWarning, file.Name, "its last line has no newline", "end it with a newline: whatever is appended would be glued to it")
		}
	}
	return l
}

type findings []Finding

func (l *findings) add(id string, severity Severity, subject, message, hint string) {
	*l = append(*l, Finding{ID: id, Severity: severity, Subject: subject, Message: message, Hint: hint})
}

// LintAuthority looks at one CA as istiod, agents and proxies will.
func LintAuthority(a *Authority, at time.Time) []Finding {
	var l findings
	if a.Cert == nil || len(a.Roots.Certs) == 0 {
		l.add("incomplete", SeverityError, "CA", "the signing certificate or the root is missing", "give all four: --root, --ca-cert, --ca-key and --chain")
		return l
	}
	if a.Key != nil && !a.KeyMatches() {
		l.add("wrong-key", SeverityError, a.Cert.Subject(), "the key is not that of the certificate", "give the key that the certificate was made for")
	}
	chain := append([]*Certificate{a.Cert}, a.Chain...)
	for _, c := range chain {
		l.authority(c, at)
	}
	for i, c := range a.Roots.Certs {
		if NewSet(chain...).Has(c) {
			continue
		}
		l.root(c, i == 0, at)
	}
	if set := a.Roots.Set(); len(set) < len(a.Roots.Certs) {
		l.add("duplicate-root", SeverityWarning, "root bundle", "it holds a certificate more than once", "leave one of each")
	}
	if a.Cert.X509 == nil {
		return l
	}
	if answer := Verify(Question{Judge: Go, Roots: a.Roots.Certs, Chain: chain, At: at, Usage: AnyUsage}); answer.Result != Accepted {
		l.add("no-path", SeverityError, a.Cert.Subject(), "it does not chain to the root bundle: "+answer.Reason, "give in --chain every certificate between it and the root, and the right root in --root")
	}
	if selfSigned(a.Cert) {
		l.add("root-signs", SeverityWarning, a.Cert.Subject(), "the root itself signs workloads: its key lies in the cluster", "make an intermediate, and keep the root's key elsewhere")
	}
	return l
}

// authority looks at one certificate that is to be a CA and will be presented.
func (l *findings) authority(c *Certificate, at time.Time) {
	x := c.X509
	if x == nil {
		l.add("unparsable", SeverityError, c.Subject(), c.Err.Error(), "istiod refuses it: have it issued anew")
		return
	}
	name := c.Subject()
	l.dates(c, at, SeverityError)
	if !x.BasicConstraintsValid || !x.IsCA {
		l.add("not-a-ca", SeverityError, name, "it is no CA (basicConstraints)", "have it issued with CA:TRUE")
	}
	if x.KeyUsage != 0 && x.KeyUsage&x509.KeyUsageCertSign == 0 {
		l.add("no-cert-sign", SeverityError, name, "its key usage does not allow to sign certificates", "have it issued with keyCertSign")
	}
	switch x.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.MD5WithRSA, x509.MD2WithRSA:
		l.add("weak-signature", SeverityError, name, "it is signed with "+x.SignatureAlgorithm.String()+", which istiod refuses", "have it signed with SHA-256 or better")
	}
	if len(x.ExtKeyUsage)+len(x.UnknownExtKeyUsage) > 0 &&
		(!slices.Contains(x.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || !slices.Contains(x.ExtKeyUsage, x509.ExtKeyUsageClientAuth)) {
		l.add("narrow-usage", SeverityError, name, "its extended key usage does not hold both client and server: Envoy asks every intermediate for it", "have it issued without, or with both")
	}
	if len(x.SubjectKeyId) == 0 {
		l.add("no-ski", SeverityWarning, name, "it has no subject key identifier", "have it issued with one: peers tell issuers of one name apart by it")
	}
	if len(x.AuthorityKeyId) == 0 && !selfSigned(c) {
		l.add("no-aki", SeverityWarning, name, "it has no authority key identifier", "have it issued with one: peers tell issuers of one name apart by it")
	}
	if aki := authorityKeyID(x); aki.serial != nil || len(aki.issuer) > 0 {
		l.add("aki-serial", SeverityWarning, name, "its authority key identifier names the issuer's serial number: a root re-issued with the same key would not fit it", "have it issued with the key id alone (openssl: authorityKeyIdentifier=keyid)")
	}
	l.key(c)
}

// root looks at a certificate of the bundle.
func (l *findings) root(c *Certificate, first bool, at time.Time) {
	if c.X509 == nil {
		l.add("unparsable", SeverityError, c.Subject(), c.Err.Error(), "istiod passes it over: have it issued anew")
		return
	}
	severity := SeverityWarning
	if first {
		severity = SeverityError
	}
	l.dates(c, at, severity)
	if !c.X509.IsCA {
		l.add("root-not-a-ca", severity, c.Subject(), "it is no CA and lies in the root bundle", "take it out, or have it issued with CA:TRUE")
	}
	if len(c.X509.SubjectKeyId) == 0 {
		l.add("no-ski", SeverityWarning, c.Subject(), "it has no subject key identifier", "have it issued with one: peers tell issuers of one name apart by it")
	}
	l.key(c)
}

func (l *findings) dates(c *Certificate, at time.Time, severity Severity) {
	x, name := c.X509, c.Subject()
	switch {
	case at.Before(x.NotBefore):
		l.add("not-yet-valid", severity, name, "it is not valid before "+x.NotBefore.UTC().Format(time.RFC3339), "wait, or have it dated back an hour: clocks differ")
	case at.After(x.NotAfter):
		l.add("expired", severity, name, "it expired at "+x.NotAfter.UTC().Format(time.RFC3339), "have it renewed")
	case x.NotAfter.Sub(at) < expiresSoon:
		l.add("expires-soon", SeverityWarning, name, fmt.Sprintf("it expires in %d days", int(x.NotAfter.Sub(at).Hours()/24)), "have it renewed: the next rotation is near")
	}
}

func (l *findings) key(c *Certificate) {
	switch key := c.X509.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			l.add("weak-key", SeverityError, c.Subject(), fmt.Sprintf("its RSA key has %d bits", key.N.BitLen()), "use 2048 bits or more")
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			l.add("odd-curve", SeverityError, c.Subject(), "its curve is "+key.Curve.Params().Name, "use P-256 or P-384")
		}
	default:
		l.add("odd-key", SeverityError, c.Subject(), "its key is neither RSA nor ECDSA", "istiod signs with no other")
	}
}

// LintPair looks at old and new CA together: both are met in one mesh for a while.
func LintPair(old, new *Authority, at time.Time) []Finding {
	var l findings
	for _, n := range roles(new) {
		for _, o := range roles(old) {
			l.pair(o, n)
		}
	}
	if len(old.Roots.Certs) > 0 && len(new.Roots.Certs) > 0 {
		o, n := old.Roots.Certs[0], new.Roots.Certs[0]
		if o.X509 != nil && n.X509 != nil && n.X509.NotAfter.Before(o.X509.NotAfter) {
			l.add("shorter-life", SeverityWarning, n.Subject(), "the new root ends before the old one", "is it the right one?")
		}
	}
	return l
}

// roles are the certificates of a CA that peers look issuers up among.
func roles(a *Authority) []*Certificate {
	all := append([]*Certificate{a.Cert}, a.Chain...)
	return distinct(append(all, a.Roots.Certs...))
}

func (l *findings) pair(o, n *Certificate) {
	if o == nil || n == nil || o.X509 == nil || n.X509 == nil || o.Equal(n) || !sameName(o.X509.RawSubject, n.X509.RawSubject) {
		return
	}
	name, same := n.Subject(), SameKey(o.X509.PublicKey, n.X509.PublicKey)
	ids := len(o.X509.SubjectKeyId) > 0 && len(n.X509.SubjectKeyId) > 0
	switch {
	case same && !bytes.Equal(o.X509.SubjectKeyId, n.X509.SubjectKeyId):
		l.add("same-key-other-ski", SeverityError, name, "old and new have one name and one key, and differ in the subject key identifier: certificates of the one are refused under the other", "re-issue it with the old one's identifier, byte for byte")
	case same:
		l.add("same-key", SeverityInfo, name, "old and new have one key: this is a re-issue", "")
	case ids:
		l.add("same-name", SeverityWarning, name, "old and new have one name and two keys: only the key identifiers tell them apart", "give the new one a name of its own")
	default:
		l.add("same-name-no-ids", SeverityError, name, "old and new have one name, two keys and no key identifiers: a peer that trusts both takes the wrong one in a part of all handshakes", "give the new one a name of its own, and key identifiers")
	}
}
