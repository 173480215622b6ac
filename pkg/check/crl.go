package check

import (
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// crlSoon is which part of a CRL's life may be left before it is said that it ends.
const crlSoon = 4

func crlRule() Rule {
	return Rule{ID: "crls", Category: Trust, About: "no CRL that is in force ends soon, or is left behind by the CA", Facts: true, Needs: "no proxy was read", Reads: []string{"pods"}, Run: crls}
}

// crls tells of the CRLs that live proxies judge by: one that ends has all who have it
// refuse every certificate of its issuer (boringssl crypto/x509/x509_vfy.cc,
// check_crl_time), and one that the CA Secret has no more stays (mesh.CRLMap).
func crls(s *mesh.Snapshot, p Policy) (all []Finding, looked int) {
	var by crowds[pki.Fingerprint]
	texts := map[pki.Fingerprint]*pki.CRLs{}
	for _, c := range p.classes(s) {
		looked += len(c.Proxies)
		if c.CRLs == nil {
			continue
		}
		texts[c.CRLs.Fingerprint()] = c.CRLs
		for _, ref := range c.Proxies {
			by.add(c.CRLs.Fingerprint(), ref)
		}
	}
	for _, fingerprint := range by.order {
		text, refs := texts[fingerprint], by.refs[fingerprint]
		say := func(id string, severity pki.Severity, message, hint string) {
			all = append(all, Finding{ID: id, Severity: severity, Object: crowd(refs), Message: message, Hint: hint, proxies: refs})
		}
		const renew = "put a new one into " + pki.CRLFile + " of the CA Secret, with one of every other issuer of the chain, the root too; istiod and proxies follow in a minute or two"
		if why := text.Unknown(); why != nil {
			say("crl-unknown", pki.SeverityWarning, "a CRL is in force, or may be, that cannot be judged here: "+why.Error(), "what is accepted with it is not proven")
		}
		for _, l := range text.Lists() {
			left := l.NextUpdate.Sub(s.TakenAt)
			switch {
			case l.NextUpdate.IsZero():
			case left <= 0:
				say("crl-ended", pki.SeverityError, fmt.Sprintf("the CRL of %s ended at %s: every certificate of this issuer is refused there", l.Issuer, stamp(l.NextUpdate)), renew)
			case left < l.NextUpdate.Sub(l.ThisUpdate)/crlSoon:
				say("crl-ends", pki.SeverityWarning, fmt.Sprintf("the CRL of %s ends in %s, at %s: from then on every certificate of this issuer is refused there", l.Issuer, left.Round(time.Minute), stamp(l.NextUpdate)), renew)
			}
			say("crl", pki.SeverityInfo, fmt.Sprintf("a CRL of %s is in force, of %s, with %d entries", l.Issuer, stamp(l.ThisUpdate), l.Revoked), "before the CA is replaced nobody may have one: 'kubectl meshca plan' names the steps")
		}
	}
	return append(all, crlLeft(s)...), looked
}

// crlLeft: out of the Secret, and in force.
func crlLeft(s *mesh.Snapshot) (all []Finding) {
	use := s.CRLUse()
	if len(use.Unread) > 0 {
		all = append(all, Finding{ID: "crl-unread", Severity: pki.SeverityInfo, Object: fmt.Sprintf("%d namespaces", len(use.Unread)), Message: "whether a CRL waits there for the next pods is not known: " + use.Why, Hint: "ask for a role that may get configmaps"})
	}
	for _, plane := range s.ControlPlanes {
		if !plane.CA.Exists || plane.CA.HasCRL {
			return all // it has one, or that is not known
		}
	}
	if len(s.ControlPlanes) == 0 || len(use.Proxies)+len(use.Namespaces) == 0 {
		return all
	}
	f := Finding{ID: "crl-left", Severity: pki.SeverityWarning, Object: "mesh", Message: fmt.Sprintf("the CA Secret has no CRL, and %d proxies and the ConfigMaps of %d namespaces have one", len(use.Proxies), len(use.Namespaces)),
		Hint: "istiod never gives a CRL up while it runs: restart it; a pod that keeps it after a few minutes is restarted", proxies: use.Proxies}
	if len(use.Namespaces) == 0 {
		f.Hint = "pods' files follow in a minute or two; a pod that keeps it is restarted"
	}
	return append(all, f)
}
