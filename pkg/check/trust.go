package check

import (
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

func trustRules() []Rule {
	return []Rule{
		{ID: "agreement", Category: Trust, About: "secret, istiods, ConfigMaps, webhooks and proxies agree on the roots", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			expect, ok := rotation.Present(s)
			if !ok {
				return []Finding{{ID: "no-roots", Severity: pki.SeverityError, Object: "mesh", Message: "no bundle of roots could be read: nothing can be compared", Hint: "allow to read the trust ConfigMaps"}}, 1
			}
			// Gaps are a rule of their own.
			gapless := *s
			gapless.Gaps = nil
			for _, b := range expect.Judge(&gapless, nil).Blockers {
				f := Finding{ID: b.Kind, Severity: pki.SeverityError, Object: b.Kind + " " + b.Object, Message: b.Why, Hint: hintOf(b)}
				if b.Unknown {
					f.ID += "-unknown"
				}
				all = append(all, f)
			}
			return all, len(s.Proxies) + len(s.ControlPlanes)
		}},
		{ID: "handshakes", Category: Trust, About: "every live certificate is accepted by every live proxy", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			classes := Classes(s)
			byName := map[string]Class{}
			for _, c := range classes {
				byName[c.Name] = c
			}
			for _, pair := range Matrix(classes, s.TakenAt) {
				if pair.Answer.Result == pki.Accepted {
					continue
				}
				client, server := byName[pair.Client], byName[pair.Server]
				all = append(all, Finding{ID: "handshake-" + string(pair.Answer.Result), Severity: pki.SeverityError,
					Object:  client.describe() + " -> " + server.describe(),
					Message: "the " + pair.By + " would refuse: " + pair.Answer.Reason, Hint: "these proxies do not share a root: complete or take back the change that is under way"})
			}
			return all, len(classes)
		}},
	}
}

func hintOf(b rotation.Blocker) string {
	switch b.Kind {
	case "istiod":
		return "its memory differs from its files: look at its log, restart it when the new state is safe to load"
	case "configmap":
		return "istiod writes it; one that is immutable, or of a namespace istiod does not serve, stays as it is"
	case "webhook":
		return "istiod patches it within a minute; another revision's istiod, or nobody, may own it"
	case "proxy":
		if b.Unknown {
			return "what cannot be read is not proven: is the pod healthy, and may it be port-forwarded to?"
		}
		return "it follows with its next certificate, or when its pod is restarted"
	}
	return ""
}

func proxyRules() []Rule {
	return []Rule{
		{ID: "proxies-seen", Category: Proxies, About: "there are proxies, and their list is complete", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			if len(s.Proxies) == 0 {
				all = append(all, Finding{Severity: pki.SeverityInfo, Object: "mesh", Message: "no proxy was seen: there is nothing to prove on", Hint: "are namespaces injected?"})
			}
			return all, 1
		}},
		{ID: "one-release-of-roots", Category: Proxies, About: "all proxies are in one class of chain and roots", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			classes := Classes(s)
			if len(classes) > 1 {
				for _, c := range classes {
					all = append(all, Finding{Severity: pki.SeverityInfo, Object: "class " + c.Name + ": " + c.describe(), Message: "signed by " + c.Signer + ", trusts " + join(c.Trusts), Hint: "a change of the CA is under way, or was not completed"})
				}
			}
			return all, len(classes)
		}},
	}
}

func join(names []string) string {
	text := ""
	for i, n := range names {
		if i > 0 {
			text += "; "
		}
		text += n
	}
	return text
}
