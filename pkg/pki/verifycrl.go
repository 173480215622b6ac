package pki

import (
	"crypto/x509"
	"errors"
	"slices"
	"time"
)

// unrevoked holds a path that was picked against the lists: every certificate of it, the
// anchor too, is looked up in one of its issuer's (boringssl crypto/x509/x509_vfy.cc,
// check_revocation, get_crl_score, check_crl, cert_crl).
func (q Question) unrevoked(p envoyPath) (Answer, bool) {
	if q.CRLs == nil {
		return Answer{}, true
	}
	if q.CRLs.unknown != nil {
		return q.byCRL(depends("the CRL cannot be judged here: %v", q.CRLs.unknown)), false
	}
	anchor := p.certs[len(p.certs)-1]
	if p.untrusted == 0 || !anchor.selfSigned() {
		return q.byCRL(depends("what is made of a CRL below %s, which is trusted and no root, is not judged here", anchor.Subject())), false
	}
	for i, c := range p.certs {
		if answer, ok := q.listed(c, p.certs[min(i+1, len(p.certs)-1):]); !ok {
			return q.byCRL(answer), false
		}
	}
	return Answer{}, true
}

func (q Question) byCRL(a Answer) Answer {
	a.ByCRL = true
	return a
}

// listed looks one certificate up in the list that is picked for it; above are its issuer
// and what stands over that.
func (q Question) listed(c *fields, above []*fields) (Answer, bool) {
	issuer := above[0]
	var fit []*crl
	for _, l := range q.CRLs.lists {
		switch {
		case l.issuerAs != c.issuerAs:
		case l.odd != nil:
			return depends("the CRL of %s cannot be judged here: %v", issuer.Subject(), l.odd), false
		case issuer.fits(l.aki):
			fit = append(fit, l)
		case slices.ContainsFunc(above[1:], func(f *fields) bool { return f.subjectAs == l.issuerAs && f.fits(l.aki) }):
			return depends("a CRL of the name %s is of another certificate above it, and what is made of it is not judged here", issuer.Subject()), false
		}
	}
	if len(fit) == 0 {
		return refused("a CRL is asked for, and there is none of %s", issuer.Subject()), false
	}
	var first Answer
	for i, l := range q.picked(fit) {
		answer, _ := q.lookedUp(c, issuer, l)
		switch {
		case i == 0:
			first = answer
		case answer.Result != first.Result:
			return depends("several CRLs of %s are of one time, and not all say the same", issuer.Subject()), false
		}
	}
	return first, first.Result == ""
}

// picked are the lists of one issuer that may be taken: those in time before others, and
// of these the newest.
func (q Question) picked(fit []*crl) (best []*crl) {
	better := func(a, b *crl) int {
		if in, than := q.inForce(a), q.inForce(b); in != than {
			if in {
				return 1
			}
			return -1
		}
		return a.x509.ThisUpdate.Compare(b.x509.ThisUpdate)
	}
	for _, l := range fit {
		switch {
		case len(best) == 0 || better(l, best[0]) > 0:
			best = []*crl{l}
		case better(l, best[0]) == 0:
			best = append(best, l)
		}
	}
	return best
}

// inForce: the last second itself is too late, as for a certificate.
func (q Question) inForce(l *crl) bool {
	at := q.At.Truncate(time.Second)
	return !at.Before(l.x509.ThisUpdate) && (l.x509.NextUpdate.IsZero() || at.Before(l.x509.NextUpdate))
}

// lookedUp says what one list says of a certificate: nothing, where it is not in it.
func (q Question) lookedUp(c, issuer *fields, l *crl) (Answer, bool) {
	if issuer.hasKU && issuer.ku&x509.KeyUsageCRLSign == 0 {
		return refused("%s may not sign CRLs (key usage)", issuer.Subject()), false
	}
	switch at := q.At.Truncate(time.Second); {
	case at.Before(l.x509.ThisUpdate):
		return refused("the CRL of %s is not valid before %s", issuer.Subject(), l.x509.ThisUpdate.UTC().Format(time.RFC3339)), false
	case !q.inForce(l):
		return refused("the CRL of %s ended at %s", issuer.Subject(), l.x509.NextUpdate.UTC().Format(time.RFC3339)), false
	}
	if issuer.X509 == nil {
		return depends("the key of %s cannot be read here", issuer.Subject()), false
	}
	if err := l.signedBy(issuer); err != nil {
		if _, insecure := errors.AsType[x509.InsecureAlgorithmError](err); insecure || errors.Is(err, x509.ErrUnsupportedAlgorithm) {
			return depends("the CRL of %s is signed by an algorithm that is not judged here", issuer.Subject()), false
		}
		return refused("the CRL of the name %s is not signed by its key", issuer.Subject()), false
	}
	switch revoked, there := l.revoked[serialOf(c.serial)]; {
	case revoked:
		return refused("%s is revoked by the CRL of %s", c.Subject(), issuer.Subject()), false
	case there:
		return depends("the CRL of %s takes back that %s is revoked, and what is made of it is not judged here", issuer.Subject(), c.Subject()), false
	}
	return Answer{}, true
}
