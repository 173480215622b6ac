package rotation

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Act is what is done about a CA Secret that cert-manager writes.
type Act string

const (
	// Renew has cert-manager issue another intermediate under the same root, now.
	Renew Act = "renew"
	// Release takes the Secret out of cert-manager's hands as it stands, so that a root
	// can be replaced in it: the Certificate writes to a Secret of its own from then on.
	Release Act = "release"
	// Return gives it back: cert-manager writes another intermediate, under the root that
	// the mesh trusts by then.
	Return Act = "return"
)

// releasedSuffix makes the name of the Secret that a released Certificate writes to.
const releasedSuffix = "-released"

// Managed is what will be done about a CA Secret that cert-manager writes, and why not.
type Managed struct {
	Act Act `json:"act"`
	// Certificate is cert-manager's, by name; "" where nothing of it is left to change.
	Namespace   string `json:"namespace"`
	Certificate string `json:"certificate,omitempty"`
	// Secret is the CA Secret, Beside the one that the Certificate writes while it is
	// released.
	Secret string `json:"secret"`
	Beside string `json:"beside,omitempty"`
	Issuer string `json:"issuer,omitempty"`
	Signer Brief  `json:"signer,omitzero"`
	Root   Brief  `json:"root,omitzero"`
	// Steps say what is done, in order.
	Steps []string `json:"steps,omitempty"`
	// LongestWait bounds the wait for every proxy's next leaf.
	LongestWait time.Duration `json:"longestWait"`
	Refusals    []Refusal     `json:"refusals,omitempty"`
	Warnings    []Refusal     `json:"warnings,omitempty"`

	ca   mesh.CASource
	plan *Plan
	// roots are what the mesh trusts. The Secret may hold others, which istiods have
	// refused and would cut over to: then waits is true.
	roots []*pki.Certificate
	waits bool
	// under is true where a renewal was begun before, which is waited for.
	under bool
}

// NewManaged decides; it is pure. accept are objects that the operator lets stay
// unknown: here the Certificate, where nothing tells which root its issuer brings.
func NewManaged(s *mesh.Snapshot, act Act, csrProof bool, accept map[string]string) *Managed {
	p := &Plan{config: Config{CSRProof: csrProof}, Reason: Expiring}
	m := &Managed{Act: act, plan: p}
	defer func() { m.Refusals, m.Warnings = p.Refusals, p.Warnings }()
	plane, ok := p.controlPlane(s)
	if !ok {
		return m
	}
	m.ca = plane.CA
	m.Namespace, m.Secret = plane.CA.Namespace, plane.CA.Secret
	p.Namespace, p.Secret, p.Layout = m.Namespace, m.Secret, plane.CA.Kind
	p.refuseLeftOut(s)
	p.refuseOwnServing(s)
	p.trustConfigMap = cmp.Or(plane.Flags.TrustConfigMap, mesh.DefaultTrustConfigMap)
	for _, proxy := range s.Proxies {
		m.LongestWait = max(m.LongestWait, proxy.RenewsWithin())
	}
	p.Cost.LongestWait = m.LongestWait
	object := "secret " + m.Namespace + "/" + m.Secret
	if plane.CA.Kind != mesh.CAPluggedTLS {
		p.refuse("not-cert-manager", object, fmt.Sprintf("the mesh signs from a source of the kind %s, which cert-manager does not write", plane.CA.Kind), "use 'kubectl meshca plan' for such a mesh")
		return m
	}
	if plane.CA.Error != "" || len(plane.CA.Cert.Certs) == 0 || len(plane.CA.Root.Certs) == 0 {
		p.refuse("ca-unreadable", object, orUnread(plane.CA.Error), "mend the Secret first: 'kubectl meshca ca lint' names the fault")
		return m
	}
	m.roots = s.LiveRoots(plane)
	m.waits = !pki.NewSet(m.roots...).Equal(plane.CA.Root.Set())
	m.Signer, m.Root = briefOf(plane.CA.Cert.Certs[0]), briefOf(m.roots[0])
	p.refuseReleases(s)
	p.warnNodes(s)
	for _, g := range s.Gaps {
		if g.Resource == "workloadentries" { // a gate does not look for them again
			p.refuse("unreadable", g.Part, g.Error, "ask for a role that may list workloadentries of networking.istio.io")
		}
	}
	if !plane.Settled {
		p.refuse("istiod-rollout", plane.Namespace+"/"+plane.Name, "its rollout is not complete", "wait until 'kubectl rollout status' says so")
	}
	for _, g := range s.Beside {
		if g.Resource == "certificates" {
			p.refuse("unreadable", g.Part, g.Error, "ask for a role that may list certificates of cert-manager.io")
		}
	}
	if act != Release { // which changes nobody's certificates
		p.refuseCRLs(s)
	}
	writes, released := m.certificates(s)
	switch act {
	case Renew:
		m.renew(plane, writes, accept)
	case Release:
		m.release(writes, released)
	case Return:
		m.giveBack(s, plane, writes, released)
	}
	return m
}

// certificates are those that write the CA Secret, and those that did before they were
// released.
func (m *Managed) certificates(s *mesh.Snapshot) (writes, released []mesh.ManagedCA) {
	for _, c := range s.ManagedCAs {
		switch {
		case c.Namespace != m.Namespace:
		case c.Released == m.Secret:
			released = append(released, c)
		case c.Secret == m.Secret:
			writes = append(writes, c)
		}
	}
	if len(writes) > 1 {
		m.plan.refuse("several-certificates", "secret "+m.Namespace+"/"+m.Secret, fmt.Sprintf("%d Certificates write it, each over the others", len(writes)), "leave one: 'kubectl -n "+m.Namespace+" get certificates' lists them")
	}
	return writes, released
}

func (m *Managed) take(c mesh.ManagedCA) string {
	m.Certificate, m.Issuer, m.Beside = c.Name, c.Issuer, c.Secret
	if c.Released == "" {
		m.Beside = m.Secret + releasedSuffix
	}
	return "certificate " + c.Namespace + "/" + c.Name
}

func (m *Managed) renew(plane mesh.ControlPlane, writes []mesh.ManagedCA, accept map[string]string) {
	if len(writes) == 0 {
		m.plan.refuse("no-certificate", "secret "+m.Namespace+"/"+m.Secret, "no Certificate of cert-manager writes it", "'kubectl -n "+m.Namespace+" get certificates -o wide' shows what there is; after a release, 'kubectl meshca cert-manager return' gives it back")
		return
	}
	object := m.take(writes[0])
	m.under = writes[0].Issuing
	m.judgeIssuer(writes[0], accept)
	m.judgeReload(plane, object)
	m.judgeKey(writes[0])
	m.Steps = []string{
		"nothing is changed yet: every istiod and proxy must be proven whole",
		"the condition Issuing is set on " + object + ", as 'cmctl renew' does; cert-manager writes " + m.Secret + " in place",
		"every istiod proves by its own answer that it signs with the new intermediate, and shows what it logged",
		"every proxy proves that it has a certificate of the new intermediate (it renews within " + m.LongestWait.String() + " at most)",
	}
}

// judgeIssuer sees a change of the root before it happens: istiod takes no root that
// does not contain the one before (istio 1.30.3 pilot/pkg/bootstrap/istio_ca.go:
// checkRootRotation), and would cut over at its next restart.
func (m *Managed) judgeIssuer(c mesh.ManagedCA, accept map[string]string) {
	object := "certificate " + c.Namespace + "/" + c.Name
	next := c.NextRoot()
	reason, accepted := accept[c.Namespace+"/"+c.Name]
	switch {
	case !c.IsCA:
		m.plan.refuse("certificate-no-ca", object, "it has not isCA: what it writes cannot sign", "kubectl -n "+c.Namespace+" patch certificate "+c.Name+" --type=merge -p '{\"spec\":{\"isCA\":true}}'")
	case c.IssuerType == "selfSigned":
		m.plan.refuse("issuer-self-signed", object, c.Issuer+" is selfSigned: each certificate is a root of its own, which istiod refuses, and cuts over to when it restarts", m.handover())
	case next == nil && accepted:
		m.plan.warn("next-root-accepted", object, "which root it brings is not known, and accepted: "+reason, "'kubectl meshca backup' first: if it brings another root, 'kubectl meshca cert-manager release' and 'kubectl meshca restore' bring the old CA back")
	case next == nil:
		m.plan.refuse("next-root-unknown", object, "it is not known which root the next certificate brings: "+cmp.Or(c.Error, "an issuer of the type "+cmp.Or(c.IssuerType, "unknown")+" shows nothing beforehand"),
			"where its Secret may not be read, 'kubectl meshca rbac --for rotate --issuer-secret NAMESPACE/NAME' prints the role; else ask whoever runs "+c.Issuer+" whether its root stays, then say --accept "+c.Namespace+"/"+c.Name+"=REASON")
	case !slices.ContainsFunc(m.roots, next.Equal):
		m.plan.refuse("root-changes", object, fmt.Sprintf("%s would bring the root %s (%s), and the mesh trusts %s (%s): istiod would refuse it, and cut over when it restarts", c.Issuer, next.Subject(), next.Fingerprint().Short(), m.Root.Subject, m.Root.Fingerprint.Short()), m.handover())
	case len(m.roots) > 1:
		m.plan.refuse("bundle-shrinks", object, fmt.Sprintf("the mesh trusts %d roots, and cert-manager writes one", len(m.roots)), "finish or roll back the rotation that added the others, or use 'kubectl meshca rotate' on the Secret")
	}
	if !c.IssuerReady && (next != nil || c.IssuerType == "ca") {
		m.plan.refuse("issuer-not-ready", object, c.Issuer+" is not ready: it would sign nothing", "'kubectl describe "+strings.ToLower(c.Issuer)+"' tells why")
	}
}

// handover is what leads to another root while cert-manager stays in the end.
func (m *Managed) handover() string {
	return "'kubectl meshca cert-manager release' before it renews, 'kubectl meshca rotate' to the new root, 'kubectl meshca cert-manager return'"
}

func (m *Managed) judgeReload(plane mesh.ControlPlane, object string) {
	if plane.Flags.AutoReload {
		return
	}
	hint := "set AUTO_RELOAD_PLUGIN_CERTS=true on istiod (1.14 to 1.17), or upgrade to 1.18 or later"
	m.plan.refuse("not-loaded", object, fmt.Sprintf("istiod %s does not watch its CA files (AUTO_RELOAD_PLUGIN_CERTS): it would go on signing with the old intermediate", cmp.Or(plane.Version, "of an unknown release")), hint)
}

// judgeKey sees a renewal that would wait for ever: cert-manager that keeps the key of the
// Secret issues nothing for one of another kind than the Certificate asks for, and says so
// in an Event alone (cert-manager 1.17.0
// pkg/controller/certificates/keymanager/keymanager_controller.go,
// createNextPrivateKeyRotationPolicyNever).
func (m *Managed) judgeKey(c mesh.ManagedCA) {
	there := m.ca.KeyAlgorithm
	if c.Key == "" || there == "" || c.Key == there {
		return
	}
	object := "certificate " + c.Namespace + "/" + c.Name
	hint := "have it make another key each time: kubectl -n " + c.Namespace + " patch certificate " + c.Name + ` --type=merge -p '{"spec":{"privateKey":{"rotationPolicy":"Always"}}}'`
	switch {
	case c.KeepsKey:
		m.plan.refuse("key-kept", object, fmt.Sprintf("it asks for a key %s and keeps the one that %s holds (rotationPolicy Never, which is the default before cert-manager 1.18), which is %s: cert-manager would wait for somebody, for ever", c.Key, m.Secret, there), hint)
	case c.KeyUnsaid:
		m.plan.warn("key-kept", object, fmt.Sprintf("it asks for a key %s, and %s holds one %s: before 1.18, and cert-manager's release is not known, it keeps that unless told otherwise, and waits for somebody, for ever", c.Key, m.Secret, there), hint)
	}
}

func (m *Managed) release(writes, released []mesh.ManagedCA) {
	object := "secret " + m.Namespace + "/" + m.Secret
	if others := byOthers(m.ca.Owners); len(others) > 0 {
		m.plan.refuse("owned-secret", object, "it is written by "+strings.Join(others, ", ")+" too, which would put the old CA back", "take it out of these hands first")
	}
	switch {
	case len(writes) > 0:
		c := writes[0]
		certificate := m.take(c)
		if c.Issuing {
			m.plan.refuse("issuing", certificate, "a renewal is under way", "wait until it ends: 'kubectl -n "+c.Namespace+" get certificate "+c.Name+" -w'")
		}
		if len(c.Owners) > 0 {
			m.plan.refuse("owned-certificate", certificate, "it is written by "+strings.Join(c.Owners, ", ")+", which would have it write "+m.Secret+" again",
				fmt.Sprintf("at its source set spec.secretName: %s and the annotation %s: %s, and run this again", m.Beside, mesh.ReleasedFrom, m.Secret))
		}
		if c.KeepsKey && c.Key != "" {
			m.plan.warn("key-kept", certificate, "it keeps the key of the Secret that it writes, and asks for one "+c.Key+": a new CA with a key of another kind cannot be returned to it", "give the new CA a key "+c.Key+", or set spec.privateKey.rotationPolicy: Always on it before 'kubectl meshca cert-manager return'")
		}
		m.Steps = append(m.Steps, fmt.Sprintf("%s writes %s from now on, and no more %s, which stays in place as it is", certificate, m.Beside, m.Secret))
	case len(released) > 0:
		m.take(released[0])
	case len(m.ca.Owners) == 0:
		m.plan.refuse("not-cert-manager", object, "cert-manager does not write it", "there is nothing to release: 'kubectl meshca rotate' changes it in place")
		return
	}
	m.Steps = append(slices.Insert(m.Steps, 0, "nothing is changed yet: every istiod and proxy must be proven whole"),
		"it is waited for that cert-manager has followed", "its marks are taken off "+m.Secret+"; type and contents stay, no istiod sees a change",
		"afterwards: 'kubectl meshca rotate' replaces the root in place, 'kubectl meshca cert-manager return' gives the Secret back")
}

func (m *Managed) giveBack(s *mesh.Snapshot, plane mesh.ControlPlane, writes, released []mesh.ManagedCA) {
	c := slices.Concat(released, writes)
	if len(c) == 0 {
		m.plan.refuse("no-certificate", "secret "+m.Namespace+"/"+m.Secret, "no Certificate was released from it", "have a Certificate of the issuer write it: set its annotation "+mesh.ReleasedFrom+": "+m.Secret+", and run this again")
		return
	}
	object := m.take(c[0])
	m.under = len(released) == 0
	m.judgeIssuer(c[0], nil)
	m.judgeReload(plane, object)
	m.judgeKey(c[0])
	if len(c[0].Owners) > 0 && !m.under {
		m.plan.refuse("owned-certificate", object, "it is written by "+strings.Join(c[0].Owners, ", "), fmt.Sprintf("at its source set spec.secretName: %s, take off the annotation %s, and run 'kubectl meshca verify --csr-proof'", m.Secret, mesh.ReleasedFrom))
	}
	if end := slices.IndexFunc(c[0].IssuerChain, func(above *pki.Certificate) bool {
		return above.X509 != nil && !s.ClusterTime().Before(above.X509.NotAfter)
	}); end >= 0 {
		m.plan.refuse("issuer-ended", object, c[0].IssuerChain[end].Subject()+" above it has ended", "renew the issuer first")
	}
	m.Steps = []string{
		"nothing is changed yet: every istiod and proxy must be proven whole",
		fmt.Sprintf("%s writes %s again: another intermediate, under the root that the mesh trusts", object, m.Secret),
		"every istiod proves by its own answer that it signs with it, and shows what it logged",
		"every proxy proves that it has a certificate of it (it renews within " + m.LongestWait.String() + " at most)",
	}
}

// Summary is it in one sentence.
func (m *Managed) Summary() string {
	if len(m.Refusals) > 0 {
		return fmt.Sprintf("refused, for %d reasons", len(m.Refusals))
	}
	return fmt.Sprintf("%s: %s/%s, written by cert-manager's certificate %s of %s", m.Act, m.Namespace, m.Secret, m.Certificate, m.Issuer)
}

// Begun reports whether cert-manager was asked for this before, so that it may have
// written over the CA of then by now.
func (m *Managed) Begun() bool { return m.under }

// Under refuses while a rotation's own copy of the CA waits in the cluster: it would
// find a CA that it does not know.
func (m *Managed) Under(j *Journal) {
	if j == nil || len(m.Refusals) > 0 {
		return
	}
	hint := "finish it with 'kubectl meshca rotate', then 'kubectl meshca retire'"
	m.plan.refuse("rotation-open", "secret "+m.Namespace+"/"+stagedName, fmt.Sprintf("rotation %s (%s) is not retired: it could not go back any more", j.ID, j.Phase), hint)
	m.Refusals = m.plan.Refusals
}

// DryRun sends the first change to the API server, which judges it and keeps nothing.
func (m *Managed) DryRun(ctx context.Context, certificates Certificates, now time.Time) error {
	switch {
	case m.Certificate == "":
		return nil
	case m.Act == Renew:
		return certificates.issue(ctx, m.Certificate, now, metav1.DryRunAll)
	case m.Act == Release:
		return certificates.point(ctx, m.Certificate, m.Beside, m.Secret, metav1.DryRunAll)
	}
	return certificates.point(ctx, m.Certificate, m.Secret, "", metav1.DryRunAll)
}
