package rotation

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// refuseCRLs refuses to change who signs while anybody has a CRL: an Envoy that has one
// asks for one of every issuer of a path, and has none of the new CA's. A CRL that covers
// both CAs would have to reach everybody before the first new leaf, and Istio says nowhere
// that it has.
func (p *Plan) refuseCRLs(s *mesh.Snapshot) {
	use := s.CRLUse()
	const then = "Envoy then demands a CRL of every issuer of a chain, and would refuse each certificate of the new CA"
	var object, why string
	switch {
	case len(use.Secrets) > 0:
		object, why = "secret "+strings.Join(use.Secrets, ", "), pki.CRLFile+" is present"
	case len(use.Proxies) > 0:
		object, why = together("proxy", "proxies", use.Proxies), "a CRL is in force there"
	case len(use.Namespaces) > 0:
		object, why = together("namespace", "namespaces", use.Namespaces), "the ConfigMap of CRLs there holds one, which every pod gets that starts"
	case len(use.Unread) > 0:
		p.warn("crl-unread", together("namespace", "namespaces", use.Unread), "whether a CRL waits there for the next pods is not known: "+use.Why, "ask for a role that may get configmaps; what live proxies have was seen")
		return
	default:
		return
	}
	p.refuse("crl", object, why+": "+then, withoutCRL(s, use))
}

// withoutCRL is how a mesh gets rid of a CRL, in steps. Istiod takes none back while it
// runs (mesh.CRLMap), and writes it back into the ConfigMaps where somebody else empties
// them; one that starts without it empties them all. Envoys follow their file by themselves
// (envoy 1.27 source/common/secret/sds_api.h), a kubelet's minute or two later.
func withoutCRL(s *mesh.Snapshot, use mesh.CRLUse) string {
	var steps []string
	if len(use.Secrets) > 0 {
		steps = append(steps, "take "+pki.CRLFile+" out of "+strings.Join(use.Secrets, ", "))
	}
	// Before 1.27 no istiod reads it.
	known := slices.ContainsFunc(s.ControlPlanes, func(plane mesh.ControlPlane) bool { return plane.Flags.CRLConfigMap != "" })
	if known && len(use.Secrets)+len(use.Namespaces) > 0 {
		var restarts []string
		for _, plane := range s.ControlPlanes {
			if plane.Controller == "" && plane.Flags.CRLConfigMap != "" {
				restarts = append(restarts, rollout("restart", "deployment", plane.Namespace, plane.Name))
			}
		}
		step := "restart istiod, which never gives a CRL up while it runs, and writes it into every namespace"
		if len(restarts) > 0 {
			step += " ('" + strings.Join(restarts, "', '") + "')"
		}
		steps = append(steps, step)
	}
	steps = append(steps, "look with 'kubectl meshca check' until nobody has one: pods' files follow in a minute or two; a pod that keeps it is restarted")
	return strings.Join(steps, "; then ") + ". CRLs of the new CA can be given once the rotation is retired"
}

// together names one, or says how many there are.
func together(one, many string, names []string) string {
	if len(names) == 1 {
		return one + " " + names[0]
	}
	return fmt.Sprintf("%d %s, one is %s", len(names), many, names[0])
}

// revocation is one text of CRLs, and who judges by it.
type revocation struct {
	crls  *pki.CRLs
	judge pki.Judge
}

// revocations are the texts of CRLs that live proxies judge by, each once.
func revocations(s *mesh.Snapshot) (all []revocation) {
	for _, p := range s.Proxies {
		if p.Loaded == nil {
			continue
		}
		for _, i := range p.Loaded.Identities {
			r := revocation{s.CRLs(p, i), p.Judge()}
			if r.crls != nil && !slices.ContainsFunc(all, func(o revocation) bool {
				return o.judge == r.judge && o.crls.Fingerprint() == r.crls.Fingerprint()
			}) {
				all = append(all, r)
			}
		}
	}
	return all
}

// revoked asks everybody who has CRLs what he would say of a chain under these roots, and
// answers as the first who does not say yes.
func revoked(all []revocation, q pki.Question, verify func(pki.Question) pki.Answer) pki.Answer {
	for _, r := range all {
		q.CRLs, q.Judge, q.EnvoyMinor = r.crls, r.judge, 0
		if answer := verify(q); answer.Result != pki.Accepted {
			return answer
		}
	}
	return pki.Answer{Result: pki.Accepted}
}

// crlsOf is why an identity's CRLs stand in the way of a new CA, "" where it has none.
func (j *judgement) crlsOf(i proxy.Identity, p mesh.Proxy) (why string, unknown bool) {
	crls := j.s.CRLs(p, i)
	switch {
	case crls == nil:
		return "", false
	case crls.Unknown() != nil:
		return "it may judge by a CRL, which would refuse certificates of the new CA: " + crls.Unknown().Error(), true
	}
	return "a CRL is in force there, which has none of the new CA's certificates accepted: take " + pki.CRLFile + " out of the CA Secret if it is there, restart istiod, and this proxy where it keeps it", false
}
