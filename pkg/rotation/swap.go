package rotation

import (
	"fmt"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Source is what a mesh would sign with if it loaded the copy: its certificates,
// and of its key whether it fits. ok is false for what no istiod signs with.
func (s SecretCopy) Source() (source mesh.CASource, ok bool) {
	kind := mesh.CAPlugged
	switch {
	case s.Name == stagedName:
		return source, false
	case s.Name == "istio-ca-secret":
		kind = mesh.CASelfSigned
	case s.Data["tls.crt"] != nil && s.Data[pki.CertFile] == nil:
		kind = mesh.CAPluggedTLS
	}
	return mesh.SourceOf(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}, Type: s.Type, Data: s.Data}, kind), true
}

// Rotation is the ID of the rotation whose CAs a copy keeps, "" where it is none's.
func (s SecretCopy) Rotation() string { return s.Labels[rotationLabel] }

// authority is the CA of a copy, with its key.
func (s SecretCopy) authority(kind mesh.CAKind) (*pki.Authority, error) {
	layout, ok := mesh.LayoutOf(kind)
	if !ok {
		layout, _ = mesh.LayoutOf(mesh.CAPlugged)
	}
	if kind == mesh.CASelfSigned {
		layout.Chain, layout.Root = "", layout.Cert
	}
	entry := func(name string) pki.File { return pki.File{Name: name, Data: s.Data[name]} }
	files := pki.Files{Root: entry(layout.Root), CACert: entry(layout.Cert), CAKey: entry(layout.Key)}
	if layout.Chain != "" {
		files.Chain = entry(layout.Chain)
	}
	return pki.ParseFiles(files)
}

// SwapRisks are those who would refuse each other if istiods signed with this copy
// from now on: every proxy that would not accept its certificates with the roots
// that it has loaded, and every one whose own certificate the copy's bundle
// refuses. A mesh moves proxy by proxy, so that both must hold before one write is
// safe. What is not known is a risk.
func SwapRisks(s *mesh.Snapshot, c SecretCopy) []Blocker {
	source, ok := c.Source()
	if !ok {
		return nil // no istiod reads it
	}
	signer, err := c.authority(source.Kind)
	if err != nil {
		return []Blocker{{Kind: "secret", Object: c.Ref(), Why: "it is no CA that an istiod could sign with: " + err.Error()}}
	}
	leaf, serves, err := specimens(s, signer)
	if err != nil {
		return []Blocker{{Kind: "secret", Object: c.Ref(), Why: err.Error()}}
	}
	var risks []Blocker
	chain := append([]*pki.Certificate{leaf, signer.Cert}, signer.Chain...)
	// Those of live proxies, and what the copy itself brings.
	lists := revocations(s)
	if crls := pki.ParseCRLs(c.Data[pki.CRLFile]); crls != nil && source.Kind == mesh.CAPlugged {
		lists = append(lists, revocation{crls, pki.Envoy})
	}
	ask := func(kind, object, what string, q pki.Question) {
		q.At = s.ClusterTime()
		answer := pki.Verify(q)
		if answer.Result == pki.Accepted && q.Judge != pki.Go {
			answer = revoked(lists, q, pki.Verify)
		}
		if answer.Result != pki.Accepted {
			risks = append(risks, Blocker{Kind: kind, Object: object, Why: what + ": " + answer.Reason, Unknown: answer.Result == pki.Depends, ByCRL: answer.ByCRL})
		}
	}
	for _, n := range s.Namespaces {
		switch {
		case n.Trust == nil || s.Unkept(n):
		case n.Trust.Error != "":
			risks = append(risks, Blocker{Kind: "configmap", Object: n.Name + "/" + n.Trust.Name, Why: n.Trust.Error, Unknown: true})
		default: // agents judge istiod by it
			shown := chain
			if serves != nil {
				shown = append([]*pki.Certificate{serves}, chain[1:]...)
			}
			ask("configmap", n.Name+"/"+n.Trust.Name, "with its roots a certificate of this CA is refused", pki.Question{Judge: pki.Go, Roots: n.Trust.Bundle.Certs, Chain: shown, Usage: pki.ServerAuth})
		}
	}
	for _, p := range s.Proxies {
		switch {
		case p.Idle():
			continue
		case p.Loaded == nil || len(p.Loaded.Identities) == 0:
			risks = append(risks, Blocker{Kind: "proxy", Object: p.Ref(), Why: "what it trusts is not known: " + orUnread(p.Error), Unknown: true})
			continue
		}
		for _, i := range p.Loaded.Identities {
			before := len(risks)
			ask("proxy", p.Ref(), "it would refuse a certificate of this CA", pki.Question{Judge: p.Judge(), Roots: i.Roots, Domains: i.Domains, Chain: chain, Usage: pki.ClientAuth, EnvoyMinor: p.EnvoyMinor()})
			if len(risks) == before {
				ask("proxy", p.Ref(), "this CA's bundle would refuse its certificate", pki.Question{Judge: p.Judge(), Roots: source.Root.Certs, Chain: i.Chain, Usage: pki.ClientAuth, EnvoyMinor: p.EnvoyMinor()})
			}
		}
	}
	for _, vm := range s.VMs {
		risks = append(risks, Blocker{Kind: "vm", Object: vm.Namespace + "/" + vm.Name, Why: "what a virtual machine trusts and presents cannot be read from here: " + needed(source.Root.Certs, chain[1:], s.ClusterTime()), Unknown: true})
	}
	for _, g := range s.Gaps {
		if g.Resource == "workloadentries" || g.Resource == "pods" || g.Resource == "configmaps" || g.Resource == "namespaces" {
			risks = append(risks, Blocker{Kind: "reading", Object: g.Part, Why: g.Error, Unknown: true})
		}
	}
	return risks
}

// SwapSummary says how many risks there are, and the first.
func SwapSummary(risks []Blocker) string {
	if len(risks) == 0 {
		return "nobody would refuse anybody"
	}
	text := risks[0].String()
	if more := len(risks) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// needed says what somebody who cannot be read must hold, so that one write of a CA
// with these roots, whose signer has this chain, cuts nobody off.
func needed(roots, chain []*pki.Certificate, at time.Time) string {
	name := func(c *pki.Certificate) string { return c.Subject() + " (" + c.Fingerprint().Short() + ")" }
	var below []string
	for _, c := range roots {
		below = append(below, name(c))
	}
	trusts := "the roots that this CA chains to"
	if root := rootOf(roots, chain, at); root != nil {
		trusts = name(root)
	}
	return "it stays in touch where it trusts " + trusts + ", and its certificate is below " + strings.Join(below, " or ")
}

// AcceptRisks are those of the risks that stand, and those that the operator has let
// pass by name. That is possible for virtual machines alone: nothing else has somebody
// who can look where this cannot. A proxy that is not read can be restarted, and what
// was seen to fail will fail.
func AcceptRisks(risks []Blocker, accept map[string]string) (stand, passed []Blocker) {
	for _, risk := range risks {
		if risk.Kind == "vm" && risk.accepted(accept) {
			passed = append(passed, risk)
		} else {
			stand = append(stand, risk)
		}
	}
	return stand, passed
}
