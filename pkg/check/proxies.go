package check

import (
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

func proxyRules() []Rule {
	return []Rule{
		{ID: "proxies-seen", Category: Proxies, About: "there are proxies, and their list is complete", Reads: []string{"pods"}, Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			if len(s.Proxies) == 0 {
				all = append(all, Finding{Severity: pki.SeverityInfo, Object: "mesh", Message: "no proxy was seen: there is nothing to prove on", Hint: "are namespaces injected?"})
			}
			return all, 1
		}},
		{ID: "one-class", Category: Proxies, About: "all proxies are in one class of chain and roots", Needs: "no proxy was read", Reads: []string{"pods"}, Run: func(s *mesh.Snapshot, p Policy) (all []Finding, looked int) {
			classes := p.classes(s)
			if len(classes) > 1 {
				for _, c := range classes {
					all = append(all, Finding{ID: "class", Severity: pki.SeverityInfo, Object: "class " + c.Name + ": " + c.describe(), Message: "signed by " + c.Signer + ", trusts " + strings.Join(c.Trusts, "; "), Hint: "a change of the CA is under way, or was not completed; or their kinds or releases differ", proxies: c.Proxies})
				}
			}
			return all, len(classes)
		}},
		connectedRule(),
		{ID: "leaf-in-use", Category: Proxies, About: "the live TLS contexts use the certificate that each proxy has", Needs: "no proxy was read", Reads: []string{"pods"}, Run: leafInUse},
		{ID: "proxy-state", Category: Proxies, About: "every proxy runs, and is ready", Needs: "no proxy was seen", Reads: []string{"pods"}, Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			var waiting crowds[string]
			for _, p := range s.Proxies {
				switch {
				case p.Terminating:
				case p.Quit:
					waiting.add("proxy-quit", p.Ref())
				case p.Starting:
					waiting.add("proxy-starting", p.Ref())
				case !p.Ready && p.Loaded == nil:
					waiting.add("proxy-not-ready", p.Ref())
				case !p.Ready:
					waiting.add("proxy-not-ready-read", p.Ref())
				}
			}
			for _, id := range waiting.order {
				f := Finding{ID: id, Severity: pki.SeverityInfo, Object: crowd(waiting.refs[id]), Hint: "a proxy that is not connected to istiod does not follow: 'kubectl describe pod' tells why", proxies: waiting.refs[id]}
				switch id {
				case "proxy-starting":
					f.Message, f.Hint = "has not started yet: it trusts and presents nothing", "look again when it runs"
				case "proxy-quit":
					f.Message, f.Hint = "has quit, and is not started again: it trusts and presents nothing", "what its pod still runs has no proxy any more: 'kubectl describe pod' tells why it ended"
				case "proxy-not-ready":
					f.Severity, f.Message = pki.SeverityWarning, "not ready, and could not be read"
				default:
					f.ID, f.Message = "proxy-not-ready", "not ready; what it has loaded was read"
				}
				all = append(all, f)
			}
			return all, len(s.Proxies)
		}},
	}
}

// leafInUse tells what the evidence on a proxy does not prove: Envoy's contexts
// follow one after another, and a dump alone does not show them.
func leafInUse(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	var faults crowds[string]
	for _, p := range s.Proxies {
		if p.Loaded == nil {
			continue // the rule on agreement names it
		}
		looked++
		if id := confirmation(p); id != "" {
			faults.add(id, p.Ref())
		}
	}
	for _, id := range faults.order {
		f := Finding{ID: id, Severity: pki.SeverityWarning, Object: crowd(faults.refs[id]), proxies: faults.refs[id]}
		switch id {
		case "identity-unusable":
			f.Severity, f.Message, f.Hint = pki.SeverityError, "says that an identity of it is not usable", "see its log: it could not get a certificate"
		case "weak-evidence":
			f.Message, f.Hint = "was not read through its secrets: what it trusts is known in part", "allow to port-forward to it; its admin port must answer config_dump"
		case "leaf-swapping":
			f.Message, f.Hint = "has live TLS contexts that still use another certificate", "look again: contexts follow within seconds"
		case "leaf-unconfirmed":
			f.Message, f.Hint = "has no live TLS context that shows its certificate in use", "it may serve nobody, or /certs did not answer; its secrets stand without it"
		}
		all = append(all, f)
	}
	return all, looked
}

// confirmation is "" where the live contexts of a proxy confirm its leaf.
func confirmation(p mesh.Proxy) string {
	for _, i := range p.Loaded.Identities {
		if i.State != "" {
			return "identity-unusable"
		}
	}
	switch p.Loaded.Evidence {
	case proxy.EvidenceConfigDump:
	case proxy.EvidenceZtunnelDump:
		return "" // a ztunnel has no contexts to compare with
	default:
		return "weak-evidence"
	}
	confirmed := false
	for _, i := range p.Loaded.Identities {
		uses, stale := p.Loaded.InUse(i)
		if stale != "" {
			return "leaf-swapping"
		}
		confirmed = confirmed || uses
	}
	if !confirmed {
		return "leaf-unconfirmed"
	}
	return ""
}
