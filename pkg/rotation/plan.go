package rotation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Config is what the operator asks for.
type Config struct {
	// New is the CA to rotate to.
	New *pki.Authority
	// Cross is the new root as certified by the old one; nil where it cannot be had.
	Cross *pki.Certificate
	// Strategy is the one to use; "" picks the best that is possible.
	Strategy Strategy
	// TrustFileWait is how long to wait, after the last change of a trust ConfigMap,
	// until every pod's copy of it is taken to be the new one (kubelet's refresh).
	TrustFileWait time.Duration
	// CSRProof asks every replica for its answer to a throw-away request.
	CSRProof bool
	// SingleCluster is the operator's word that no other cluster shares this root.
	SingleCluster bool
	// Override drops refusals that the operator has answered by name, by ID.
	Override []string
}

// Plan is what will be done, and why.
type Plan struct {
	// ID tells this rotation from others of the mesh: from which root to which CA.
	ID       string   `json:"id"`
	Strategy Strategy `json:"strategy,omitempty"`
	Why      string   `json:"why,omitempty"`
	// Options are all strategies, and why each is possible or not.
	Options []Option `json:"options"`
	// Control is the Secret that is changed.
	Namespace string      `json:"namespace"`
	Secret    string      `json:"secret"`
	Layout    mesh.CAKind `json:"layout"`
	OldRoot   Brief       `json:"oldRoot,omitzero"`
	NewRoot   Brief       `json:"newRoot,omitzero"`
	OldSigner Brief       `json:"oldSigner,omitzero"`
	NewSigner Brief       `json:"newSigner,omitzero"`
	// Kept are the roots of the bundle that are not ours to touch.
	Kept  []Brief `json:"kept,omitempty"`
	Steps []Step  `json:"steps,omitempty"`
	Cost  Cost    `json:"cost"`
	// Refusals are the reasons why this rotation will not be run. Warnings are
	// worth reading before it is.
	Refusals []Refusal `json:"refusals,omitempty"`
	Warnings []Refusal `json:"warnings,omitempty"`
	// AlreadyDone is true where the mesh signs with the new CA and trusts its root
	// alone: there is nothing to do but to prove it.
	AlreadyDone bool `json:"alreadyDone,omitempty"`

	baseline Expectation
	target   Expectation
	config   Config
	oldRoot  *pki.Certificate
	// trustConfigMap is the name that istiod publishes the roots under.
	trustConfigMap string
}

// Option is one strategy on this mesh.
type Option struct {
	Strategy Strategy `json:"strategy"`
	Possible bool     `json:"possible"`
	Why      string   `json:"why"`
}

// Brief names a certificate.
type Brief struct {
	Fingerprint pki.Fingerprint `json:"fingerprint"`
	Subject     string          `json:"subject"`
	NotAfter    time.Time       `json:"notAfter,omitzero"`
}

func briefOf(c *pki.Certificate) Brief {
	if c == nil {
		return Brief{}
	}
	b := Brief{Fingerprint: c.Fingerprint(), Subject: c.Subject()}
	if c.X509 != nil {
		b.NotAfter = c.X509.NotAfter
	}
	return b
}

// Refusal is a reason not to rotate, with the remedy.
type Refusal struct {
	// ID is stable: documentation and scripts refer to it.
	ID     string `json:"id"`
	Object string `json:"object"`
	Why    string `json:"why"`
	Hint   string `json:"hint"`
}

// Cost is what the rotation asks of the mesh.
type Cost struct {
	// CSRs is how many certificate requests istiods get at once, at most, and how
	// often that happens.
	CSRs   int `json:"csrs"`
	Bursts int `json:"bursts"`
	// IstiodRestarts is how many pods of istiod are replaced; workloads are not.
	IstiodRestarts   int `json:"istiodRestarts"`
	WorkloadRestarts int `json:"workloadRestarts"`
	// LongestWait bounds the waits for renewals, all phases together.
	LongestWait time.Duration `json:"longestWait"`
	// FileWaits is the time of the waits for pods' trust files.
	FileWaits time.Duration `json:"fileWaits"`
	// Lagging are the proxies that will be last, with the reason.
	Lagging []string `json:"lagging,omitempty"`
}

// side says whose key signs.
type side string

const (
	oldSide side = "old"
	newSide side = "new"
)

// Step is one write and its gate.
type Step struct {
	Phase Phase `json:"phase"`
	// Name tells the steps of one phase apart.
	Name  string `json:"name"`
	About string `json:"about"`
	// Signs is "old" or "new".
	Signs side `json:"signs"`
	// Roots and Chain are the files after this write.
	Roots []byte `json:"roots"`
	Chain []byte `json:"chain,omitempty"`
	// Restart rolls istiod after the write.
	Restart bool `json:"restart,omitempty"`
	// FileWait is true where pods' trust files must have followed before the next
	// step.
	FileWait bool `json:"fileWait,omitempty"`

	expect Expectation
	// nudge is a second layout of the same roots: written and taken back, it makes
	// istiods push to, and agents renew, what lags.
	nudge []byte
}

// NewPlan decides; it is pure. A plan with refusals is a plan that will not be
// run, and still says what it would have been as far as that can be known.
func NewPlan(s *mesh.Snapshot, config Config) *Plan {
	p := &Plan{config: config}
	plane, ok := p.controlPlane(s)
	if !ok {
		return p
	}
	ca := plane.CA
	p.Namespace, p.Secret, p.Layout = ca.Namespace, ca.Secret, ca.Kind
	if p.trustConfigMap = plane.Flags.TrustConfigMap; p.trustConfigMap == "" {
		p.trustConfigMap = "istio-ca-root-cert"
	}
	p.refuseSource(ca)
	p.refuseSurroundings(s)
	p.refuseReleases(s)
	p.refuseMaterial(s)
	if len(ca.Root.Certs) == 0 || len(ca.Cert.Certs) == 0 || config.New == nil || config.New.Cert == nil || len(config.New.Roots.Certs) == 0 {
		if len(p.Refusals) == 0 {
			p.refuse("ca-unreadable", "secret "+p.Namespace+"/"+p.Secret, "the certificates of the CA could not be read", "see 'kubectl meshca check'")
		}
		return p
	}
	p.identify(s, ca)
	if !p.AlreadyDone {
		p.options(s)
	}
	p.build(ca)
	p.judge(s, ca)
	p.cost(s)
	return p
}

func (p *Plan) refuse(id, object, why, hint string) {
	r := Refusal{ID: id, Object: object, Why: why, Hint: hint}
	if slices.Contains(p.config.Override, id) {
		p.Warnings = append(p.Warnings, r)
		return
	}
	p.Refusals = append(p.Refusals, r)
}

func (p *Plan) warn(id, object, why, hint string) {
	p.Warnings = append(p.Warnings, Refusal{ID: id, Object: object, Why: why, Hint: hint})
}

// controlPlane is the one whose CA is rotated. Several that sign from different
// Secrets are several rotations.
func (p *Plan) controlPlane(s *mesh.Snapshot) (mesh.ControlPlane, bool) {
	if len(s.ControlPlanes) == 0 {
		p.refuse("no-istiod", "cluster", "no istiod was found",
			"is Istio installed here? name its namespace with --istio-namespace, and check that deployments and pods may be listed")
		return mesh.ControlPlane{}, false
	}
	first := s.ControlPlanes[0]
	for _, other := range s.ControlPlanes[1:] {
		if other.CA.Kind != first.CA.Kind || other.CA.Namespace != first.CA.Namespace || other.CA.Secret != first.CA.Secret {
			p.refuse("several-cas", other.Namespace+"/"+other.Name,
				fmt.Sprintf("it signs from %s, and %s/%s from %s: one rotation has one CA", source(other.CA), first.Namespace, first.Name, source(first.CA)),
				"bring all revisions to one CA first, or name one with --istio-namespace")
		}
	}
	return first, true
}

func source(ca mesh.CASource) string {
	if ca.Secret == "" {
		return string(ca.Kind)
	}
	return ca.Namespace + "/" + ca.Secret
}

// identify finds the old root: the one in the bundle that the signer chains to.
func (p *Plan) identify(s *mesh.Snapshot, ca mesh.CASource) {
	signer, root := ca.Cert.Certs[0], p.config.New.Roots.Certs[0]
	p.OldSigner, p.NewSigner, p.NewRoot = briefOf(signer), briefOf(p.config.New.Cert), briefOf(root)
	chain := append([]*pki.Certificate{signer}, ca.Chain.Certs...)
	for _, candidate := range ca.Root.Certs {
		answer := pki.Verify(pki.Question{Judge: pki.Go, Roots: []*pki.Certificate{candidate}, Chain: chain, At: s.TakenAt, Usage: pki.AnyUsage})
		if answer.Result == pki.Accepted {
			p.oldRoot = candidate
			break
		}
	}
	if p.oldRoot == nil {
		p.refuse("no-old-root", "secret "+p.Namespace+"/"+p.Secret, "its signing certificate chains to none of the roots of its own bundle",
			"'kubectl meshca ca verify' says why; an expired root needs another path than a rotation")
		return
	}
	p.OldRoot = briefOf(p.oldRoot)
	if p.oldRoot.Equal(root) {
		p.AlreadyDone = signer.Equal(p.config.New.Cert)
		if !p.AlreadyDone {
			p.refuse("same-root", "root "+root.Subject(), "the new CA hangs from the root that the mesh trusts already", "nothing has to be trusted anew: a new intermediate under the same root is another procedure")
		}
	}
	for _, c := range ca.Root.Certs {
		if !c.Equal(p.oldRoot) && !c.Equal(root) {
			p.Kept = append(p.Kept, briefOf(c))
		}
	}
	sum := sha256.New()
	for _, c := range []*pki.Certificate{p.oldRoot, root, p.config.New.Cert} {
		f := c.Fingerprint()
		sum.Write(f[:])
	}
	p.ID = hex.EncodeToString(sum.Sum(nil))[:10]
	for _, c := range s.MeshCACertificates {
		if c.Equal(p.oldRoot) && !p.oldRoot.Equal(root) {
			p.refuse("old-root-in-mesh-config", "meshConfig.caCertificates", "the old root stands there too, so that it would never leave the proxies", "remove it from meshConfig.caCertificates first")
		}
	}
}

// build lays out the steps of the chosen strategy.
func (p *Plan) build(ca mesh.CASource) {
	newCA := p.config.New
	base := Expectation{CSRProof: p.config.CSRProof}
	if p.AlreadyDone {
		p.target = base
		p.target.Roots, p.target.Trusted, p.target.Only, p.target.Accepted = ca.Root.Certs, ca.Root.Certs, true, ca.Root.Certs
		p.target.Signer, p.target.Leaves = newCA.Cert, true
		return
	}
	if p.oldRoot == nil || p.Strategy == "" || p.oldRoot.Equal(newCA.Roots.Certs[0]) {
		return
	}
	root := newCA.Roots.Certs[0]
	start := ca.Root
	target := replaceRoot(start, p.oldRoot, root)
	targetCerts := mustCerts(target)
	// Another mesh's roots, and a second one of ours, come with the new CA's file.
	for _, c := range newCA.Roots.Certs[1:] {
		if !pki.NewSet(targetCerts...).Has(c) {
			target = join(target, c.PEM())
			targetCerts = append(targetCerts, c)
		}
	}
	plain := pki.NewBundle(append([]*pki.Certificate{newCA.Cert}, newCA.Chain...)...)
	p.baseline = base
	p.baseline.Roots, p.baseline.Trusted, p.baseline.Accepted = start.Certs, start.Certs, start.Certs
	p.baseline.Signer = ca.Cert.Certs[0]
	expect := func(change func(*Expectation)) Expectation {
		e := base
		change(&e)
		return e
	}
	switch p.Strategy {
	case HotBundle:
		both := join(start.Raw, target)
		nudge := join(both, target)
		all := mustCerts(both)
		p.Steps = []Step{
			{Phase: TrustNew, Name: "both roots", About: "every proxy trusts the old and the new root; the old CA signs", Signs: oldSide, Roots: both, FileWait: true,
				expect: expect(func(e *Expectation) {
					e.Roots, e.Trusted, e.Accepted, e.Signer = all, all, all, ca.Cert.Certs[0]
				}), nudge: join(both, target)},
			{Phase: SignNew, Name: "signer", About: "every istiod signs with the new CA", Signs: newSide, Roots: both, Chain: plain.Raw,
				expect: expect(func(e *Expectation) { e.Roots, e.Signer, e.Behind = all, newCA.Cert, plain.Certs })},
			{Phase: SignNew, Name: "leaves", About: "every proxy has a certificate of the new CA", Signs: newSide, Roots: nudge, Chain: plain.Raw,
				expect: expect(func(e *Expectation) {
					e.Roots, e.Trusted, e.Accepted, e.Signer, e.Leaves, e.Behind = all, all, targetCerts, newCA.Cert, true, plain.Certs
				}), nudge: join(nudge, target)},
			{Phase: DistrustOld, Name: "new root", About: "no proxy trusts the old root", Signs: newSide, Roots: target, Chain: plain.Raw,
				expect: expect(func(e *Expectation) {
					e.Roots, e.Trusted, e.Only, e.Accepted, e.Signer, e.Leaves, e.Behind = targetCerts, targetCerts, true, targetCerts, newCA.Cert, true, plain.Certs
				}), nudge: join(target, target)},
		}
	case CrossSign:
		crossed := pki.NewBundle(append(slices.Clone(plain.Certs), p.config.Cross)...)
		p.Steps = []Step{
			{Phase: SignNew, Name: "cross-signed chain", About: "every proxy has a certificate of the new CA, for which the old root vouches", Signs: newSide, Roots: start.Raw, Chain: crossed.Raw,
				expect: expect(func(e *Expectation) {
					e.Roots, e.Trusted, e.Accepted, e.Signer, e.Leaves, e.Behind = start.Certs, start.Certs, targetCerts, newCA.Cert, true, crossed.Certs
				})},
			{Phase: SwapTrust, Name: "new root", About: "every proxy trusts the new root instead of the old", Signs: newSide, Roots: target, Chain: crossed.Raw, Restart: true, FileWait: true,
				expect: expect(func(e *Expectation) {
					e.Roots, e.Trusted, e.Only, e.Accepted, e.Signer, e.Leaves, e.Behind = targetCerts, targetCerts, true, targetCerts, newCA.Cert, true, crossed.Certs
				})},
			{Phase: DropCross, Name: "plain chain", About: "istiods send the cross certificate no more", Signs: newSide, Roots: target, Chain: plain.Raw,
				expect: expect(func(e *Expectation) {
					e.Roots, e.Trusted, e.Only, e.Accepted, e.Signer, e.Leaves, e.Behind = targetCerts, targetCerts, true, targetCerts, newCA.Cert, true, plain.Certs
				})},
		}
	}
	p.target = p.Steps[len(p.Steps)-1].expect
}

// mustCerts parses what this package has laid out from parsed bundles.
func mustCerts(raw []byte) []*pki.Certificate {
	b, err := pki.ParseBundle(raw)
	if err != nil {
		panic("rotation: a bundle of parsed certificates does not parse: " + err.Error())
	}
	return b.Certs
}

// Target is the proof that a rotation ends with.
func (p *Plan) Target() Expectation { return p.target }

// Summary is the plan in one sentence.
func (p *Plan) Summary() string {
	switch {
	case p.AlreadyDone:
		return "the mesh signs with this CA already: only the proof is left"
	case len(p.Refusals) > 0:
		return fmt.Sprintf("refused, for %d reasons", len(p.Refusals))
	}
	return fmt.Sprintf("%s: %s -> %s, %d writes; %s", p.Strategy, p.OldRoot.Subject, p.NewRoot.Subject, len(p.Steps), p.Why)
}
