package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Use says whether the mesh depends on its root.
type Use string

const (
	// NotUsed exists on meshes with a Citadel alone: nobody asks for mutual TLS, nor
	// does the control plane.
	NotUsed Use = "not used"
	// MayBeUsed: servers accept it, and a client may begin to send it.
	MayBeUsed Use = "may be used"
	Used      Use = "used"
	// UseUnknown: what would tell it could not be read.
	UseUnknown Use = "unknown"
)

// MTLSUse says whether a mesh uses mutual TLS, and why. The root's end is an outage
// where it is used, and may become one where it may be used.
func MTLSUse(s *mesh.Snapshot) (Use, []string) {
	citadel := false
	for _, plane := range s.ControlPlanes {
		if plane.CA.Kind != mesh.CACitadel {
			// Istio 1.5 and later: there is no mode without.
			return Used, append([]string{"the agents' own connections to istiod and the webhooks rest on the root, whatever the policies say"}, asked(s)...)
		}
		citadel = true
	}
	if !citadel {
		return UseUnknown, []string{"no control plane was seen"}
	}
	why := asked(s)
	if s.MTLS.ControlPlaneAuthPolicy == mesh.MutualTLS {
		why = append([]string{"the control plane is secured (controlPlaneAuthPolicy: MUTUAL_TLS)"}, why...)
	}
	if s.MTLS.AuthPolicy == mesh.MutualTLS {
		why = append([]string{"the data plane is secured (authPolicy: MUTUAL_TLS)"}, why...)
	}
	accepts, sends, strict := false, false, false
	for _, p := range s.MTLS.Policies {
		switch p.Mode {
		case "STRICT":
			strict = true
		case "PERMISSIVE":
			accepts = true
		case "ISTIO_MUTUAL", "MUTUAL": // MUTUAL names files, which on these meshes are Citadel's
			sends = true
		}
	}
	auto := s.MTLS.AutoMTLS != nil && *s.MTLS.AutoMTLS
	switch {
	case s.MTLS.ControlPlaneAuthPolicy == mesh.MutualTLS || s.MTLS.AuthPolicy == mesh.MutualTLS, strict, sends:
		return Used, why
	case accepts && auto:
		return Used, append(why, "clients send it wherever servers accept it (enableAutoMtls)")
	}
	if unread := unreadPolicies(s); len(unread) > 0 {
		return UseUnknown, append(why, "not read: "+strings.Join(unread, ", "))
	}
	if accepts {
		return MayBeUsed, append(why, "servers accept it, and no client is told to send it")
	}
	why = []string{"no policy accepts or asks for mutual TLS, and the control plane is not secured"}
	if hooks := calledBy(s); len(hooks) > 0 {
		why = append(why, "the API server calls "+strings.Join(hooks, ", ")+" by the root all the same")
	}
	return NotUsed, why
}

// calledBy are the webhooks that the API server judges by a Citadel's root: the injector
// serves a certificate of Citadel's whatever mutual TLS is (istio 1.4.10
// install/kubernetes/helm/istio/charts/sidecarInjectorWebhook/templates/deployment.yaml), as
// Galley does.
func calledBy(s *mesh.Snapshot) (all []string) {
	roots, _ := CitadelRoots(s)
	for _, w := range s.Webhooks {
		if ref := "webhook " + w.Config; slices.ContainsFunc(roots, w.CABundle.Set().Has) && !slices.Contains(all, ref) {
			all = append(all, ref)
		}
	}
	return all
}

// unreadPolicies are the parts without which nothing says that it is not used.
func unreadPolicies(s *mesh.Snapshot) (all []string) {
	for _, g := range s.Unread() {
		if slices.Contains([]string{"peerauthentications", "destinationrules", "meshpolicies", "policies"}, g.Resource) || g.Resource == "configmaps" && strings.HasPrefix(g.Part, "mesh config") {
			all = append(all, g.Part)
		}
	}
	return all
}

// asked names the policies that ask for mutual TLS or accept it, a few of each mode.
func asked(s *mesh.Snapshot) (why []string) {
	const few = 3
	var modes crowds[string]
	for _, p := range s.MTLS.Policies {
		if p.Mode == "UNSET" || p.Mode == "SIMPLE" {
			continue
		}
		ref := p.Ref()
		if p.Scope != "" {
			ref += " (" + p.Scope + ")"
		}
		modes.add(p.Mode, ref)
	}
	for _, mode := range modes.order {
		refs := modes.refs[mode]
		text := mode + ": " + strings.Join(refs[:min(few, len(refs))], ", ")
		if more := len(refs) - few; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		why = append(why, text)
	}
	return why
}

func mtlsRules() []Rule {
	return []Rule{{ID: "mtls-use", Category: MTLS, About: "it is known whether the mesh depends on its root", Facts: true, Needs: "no control plane was seen", Reads: istiods(),
		Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			use, why := MTLSUse(s)
			f := Finding{Severity: pki.SeverityInfo, Object: "mutual TLS", Message: string(use) + ": " + strings.Join(why, "; ")}
			switch use {
			case NotUsed:
				f.ID, f.Hint = "mtls-not-used", "no action is required as long as this stays so; rotate before mutual TLS is turned on"
				if len(calledBy(s)) > 0 {
					f.Hint = "no traffic needs the root as long as this stays so; without it the API server refuses the webhooks, and no pod that is to be injected starts: renew it before it ends ('kubectl meshca rotate --strategy same-key')"
				}
			case MayBeUsed:
				f.ID, f.Hint = "mtls-may-be-used", "rotate before the root ends"
			case Used:
				f.ID, f.Hint = "mtls-used", "rotate before the root ends: its end is an outage"
			default:
				f.ID, f.Severity, f.Hint = "mtls-unknown", pki.SeverityWarning, "take it for used until the policies can be read"
			}
			return append(all, f), len(s.ControlPlanes)
		}}}
}
