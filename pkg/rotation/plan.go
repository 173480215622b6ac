package rotation

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
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
	// VMCertificateLife is the operator's word for how long the certificates live that
	// virtual machines' agents ask for; 0 counts the most that istiods allow.
	VMCertificateLife time.Duration
	// CSRProof asks every replica for its answer to a throw-away request.
	CSRProof bool
	// SingleCluster is the operator's word that no other cluster shares this root.
	SingleCluster bool
	// Reason is why the CA is replaced; "" is Expiring.
	Reason Reason
	// Back asks for the way back alone: what stands in the way of going forward is no
	// reason to stay half-way.
	Back bool
	// Begun is how a rotation began that is carried on.
	Begun Strategy
	// Resumed says that this rotation was begun before. A rollout of istiod may be its
	// own then: the gates wait for its end, and it is no refusal.
	Resumed bool
	// Ahead says of one that the CA Secret signs with the new CA already and hands its
	// root out: from there the way forward rests on nothing of the old CA, which may end.
	Ahead bool
	// Underway says of one that the CA Secret does not hold the CA of its start any more:
	// less time than the whole takes is no reason to stay there.
	Underway bool
	// Override drops refusals that the operator has answered by name, by ID.
	Override []string
	// ByOwner says that nothing is written here: whoever owns the Secret gets what each
	// step writes, so that an owner is no reason to refuse.
	ByOwner bool
}

// Plan is what will be done, and why.
type Plan struct {
	// ID tells this rotation from others of the mesh: from which root to which CA.
	ID       string   `json:"id"`
	Strategy Strategy `json:"strategy,omitempty"`
	Why      string   `json:"why,omitempty"`
	Reason   Reason   `json:"reason"`
	// Adopts is true where the self-signed pair is moved to cacerts first.
	Adopts bool `json:"adopts,omitempty"`
	// Options are all strategies, and why each is possible or not.
	Options []Option `json:"options"`
	// Namespace, Secret and Layout are of the Secret that is changed.
	Namespace string      `json:"namespace"`
	Secret    string      `json:"secret"`
	Layout    mesh.CAKind `json:"layout"`
	// Owners are who writes the Secret, where a plan is for them (Config.ByOwner).
	Owners    []string `json:"owners,omitempty"`
	OldRoot   Brief    `json:"oldRoot,omitzero"`
	NewRoot   Brief    `json:"newRoot,omitzero"`
	OldSigner Brief    `json:"oldSigner,omitzero"`
	NewSigner Brief    `json:"newSigner,omitzero"`
	// Kept are the roots of the bundle that are not ours to touch.
	Kept  []Brief `json:"kept,omitempty"`
	Steps []Step  `json:"steps,omitempty"`
	// Back is the way back, from the end to the start.
	Back []Step `json:"back,omitempty"`
	Cost Cost   `json:"cost"`
	// Revisions are the control planes that sign from this Secret, and what each does.
	Revisions []Revision `json:"revisions,omitempty"`
	// Exposed says, of a compromised CA, what stays open to whoever has its key, and
	// until when.
	Exposed []string `json:"exposed,omitempty"`
	// Afterwards says what is left to do once it is done.
	Afterwards []string `json:"afterwards,omitempty"`
	// Outage says, of a CA that has expired, what works, what does not, and what
	// cannot be saved.
	Outage []string `json:"outage,omitempty"`
	// Refusals are the reasons why this rotation will not be run. Warnings are
	// worth reading before it is.
	Refusals []Refusal `json:"refusals,omitempty"`
	Warnings []Refusal `json:"warnings,omitempty"`
	// AlreadyDone is true where the mesh signs with the new CA and trusts its root
	// alone: there is nothing to do but to prove it.
	AlreadyDone bool `json:"alreadyDone,omitempty"`
	// Standing is where a rotation stands that was begun before, nil where none was, or
	// where that cannot be told.
	Standing *Standing `json:"standing,omitempty"`
	// Gate is the one before the first write as it was when this was planned, nil where it
	// was open, or where there is none.
	Gate *Status `json:"gate,omitempty"`

	// begun are the steps, there and back, of the course that this one takes over from.
	begun []Step
	// skew is how far this machine's clock was ahead of the cluster's.
	skew time.Duration

	baseline Expectation
	target   Expectation
	config   Config
	oldRoot  *pki.Certificate
	// oldBeside is what else of the old CA lies in the bundle, and leaves it with its root.
	oldBeside []*pki.Certificate
	// oldPath are the certificates that vouch for the old signer, from itself on, without
	// the root.
	oldPath []*pki.Certificate
	// source is the Secret that the old CA is read from: another one than Secret
	// where Adopts is true.
	source string
	// citadel: the CA is a Citadel.
	citadel bool
	// reissue: the new root has name and key of the one that it replaces.
	reissue bool
	// ended is when the first certificate of the old CA expired, where one has.
	ended time.Time
	// ahead: it did under a rotation that rests on nothing of it any more.
	ahead bool
	// hurries: renewals would not end before the old CA does, so that workloads are
	// restarted (same-key, intermediate).
	hurries bool
	// ca is where the old CA was read, and behind are the workloads that waves would
	// restart, by step.
	ca     mesh.CASource
	behind map[string][]behind
	// nodes: they could be listed, so that a gate which can no more is closed.
	nodes bool
	// unserved: some istiod has a serving certificate that its CA has not made.
	unserved bool
	// leafLife is the longest life of a leaf.
	leafLife time.Duration
	// vmLife is the longest life of one of a virtual machine; nil where there is none.
	vmLife *VMLife
	// trustConfigMap is the name that istiod publishes the roots under.
	trustConfigMap string
}

// Option is one strategy on this mesh.
type Option struct {
	Strategy Strategy `json:"strategy"`
	Possible bool     `json:"possible"`
	Why      string   `json:"why"`
	// Cost is what it would ask of the mesh, where it could be laid out.
	Cost *Cost `json:"cost,omitempty"`
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
	// IstiodRestarts and WorkloadRestarts are how many pods are replaced.
	IstiodRestarts   int `json:"istiodRestarts"`
	WorkloadRestarts int `json:"workloadRestarts"`
	// LongestWait bounds the waits for renewals, all phases together.
	LongestWait time.Duration `json:"longestWait"`
	// FileWaits is the time of the waits for pods' trust files.
	FileWaits time.Duration `json:"fileWaits"`
	// VirtualMachines is how long their certificates are taken to live: that long is
	// waited, beside LongestWait, where they are accepted and an old root is taken away.
	VirtualMachines *VMLife `json:"virtualMachines,omitempty"`
	// Lagging are the proxies that will be last, with the reason.
	Lagging []string `json:"lagging,omitempty"`

	// resting is the part of LongestWait in which the old root must hold, signing that in
	// which somebody may have a certificate of the old signer, with its FileWaits.
	resting, signing time.Duration
}

// side says whose key signs.
type side string

const (
	oldSide side = "old"
	newSide side = "new"
)

// waves says which workloads a step restarts.
type waves string

const (
	// wavesStale: those whose agents read their roots at their start alone.
	wavesStale waves = "stale"
	// wavesLagging: those too that no push reaches.
	wavesLagging waves = "lagging"
	// wavesBehind: all that the gate waits for.
	wavesBehind waves = "behind"
	// wavesMounted: those whose Envoys do not follow their mounted files.
	wavesMounted waves = "mounted"
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
	// Restart rolls istiod after the write, Waves workloads once istiods are proven.
	Restart bool  `json:"restart,omitempty"`
	Waves   waves `json:"waves,omitempty"`
	// FileWait is true where pods' trust files must have followed before the next
	// step.
	FileWait bool `json:"fileWait,omitempty"`

	expect Expectation
	// nudge is a second layout of the same roots: written and taken back, it makes
	// istiods push to, and agents renew, what lags.
	nudge []byte
	// warmer are the layouts of the same step where istiods load a bundle in place: flags may
	// be taken off in the middle, and what stands is of this step all the same.
	warmer [][]byte
	// always asks for the restart even where every replica answers as it should: it
	// starts what only a start does (a watcher, a verifier).
	always bool
	// cold is true where istiods may hold other roots than these and would not load them
	// in place: whoever carries on restarts them, unless their answers prove the step.
	cold bool
	// fresh asks that agents which read their roots at their start alone have been
	// started since these roots were published.
	fresh bool
	// files asks the same, with what this step gives them, of agents that write their
	// certificates for others: nothing tells when those read them.
	files bool
	// unpushed is true where new certificates are asked for and nothing is written that
	// istiods push: those whom a push reaches wait for their renewal like the others.
	unpushed bool
	// back is the index, in the way back, of what is written next from here, where no
	// step of the way back has this very layout.
	back int
}

// dated reports whether a step asks of some pods that they were made since.
func (s Step) dated() bool { return s.fresh || s.files }

// NewPlan decides; it is pure. A plan with refusals is a plan that will not be
// run, and still says what it would have been as far as that can be known.
func NewPlan(s *mesh.Snapshot, config Config) *Plan {
	p := &Plan{config: config, Options: []Option{}}
	plane, ok := p.controlPlane(s)
	if !ok {
		return p
	}
	ca := plane.CA
	p.ca = ca
	p.Namespace, p.Secret, p.source, p.Layout = ca.Namespace, ca.Secret, ca.Secret, ca.Kind
	p.reissue = reissues(ca, config.New)
	if p.Adopts = ca.Kind == mesh.CASelfSigned && !p.reissue; p.Adopts {
		p.Secret, p.Layout = pluggedSecret, mesh.CAPlugged
	}
	if p.Reason = config.Reason; p.Reason == "" {
		p.Reason = Expiring
	}
	p.trustConfigMap = cmp.Or(plane.Flags.TrustConfigMap, mesh.DefaultTrustConfigMap)
	p.vmLife = vmLife(s, config.VMCertificateLife)
	p.leafLife = leafLife(s, p.vmLife)
	p.judgeVMLife()
	p.refuseSource(s, ca)
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
	p.refuseOwnServing(s)
	if !p.AlreadyDone {
		p.refuseCRLs(s)
	}
	p.refuseFetchedRoots(s, ca)
	switch {
	case p.AlreadyDone:
		p.prove(ca)
		p.warnBeside()
	case p.oldRoot != nil:
		p.refuseBack(s)
		p.weigh(s, ca)
		p.refuseEnding(s)
		p.refuseUnrollable(s)
		if !p.ahead {
			p.judge(s, ca)
		}
	}
	return p
}

func (p *Plan) refuse(id, object, why, hint string) {
	r := Refusal{ID: id, Object: object, Why: why, Hint: hint}
	if slices.Contains(p.config.Override, id) || p.config.Back && !bindsBack(id) {
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
	p.skew = time.Duration(s.ClockSkew)
	for _, other := range s.ControlPlanes[1:] {
		if other.CA.Kind != first.CA.Kind || other.CA.Namespace != first.CA.Namespace || other.CA.Secret != first.CA.Secret {
			p.refuse("several-cas", other.Namespace+"/"+other.Name,
				fmt.Sprintf("it signs from %s, and %s/%s from %s: one rotation has one CA", source(other.CA), first.Namespace, first.Name, source(first.CA)),
				"bring all revisions to one CA first; where they are meshes of their own, name one with --istio-namespace")
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
	p.oldRoot = nearestRoot(ca.Root.Certs, chain, s.ClusterTime())
	if p.oldRoot == nil && p.whenEnded(ca.Root.Certs, chain, s.ClusterTime()) {
		return
	}
	if p.oldRoot == nil {
		p.refuse("no-old-root", "secret "+p.Namespace+"/"+p.Secret, "its signing certificate chains to none of the roots of its own bundle",
			"'kubectl meshca ca verify' says why; where the CA has ended, 'kubectl meshca plan --strategy recover' plans the shortest way out")
		return
	}
	var others []*pki.Certificate
	p.oldRoot, others = ofOneCA(ca.Root.Certs, chain, p.oldRoot)
	if !p.oldRoot.Equal(root) {
		p.oldBeside = slices.DeleteFunc(others, root.Equal)
	}
	p.OldRoot, p.oldPath = briefOf(p.oldRoot), path(signer, p.oldRoot, ca.Chain.Certs)
	p.AlreadyDone = p.oldRoot.Equal(root) && signer.Equal(p.config.New.Cert)
	for _, c := range ca.Root.Certs {
		if !c.Equal(p.oldRoot) && !c.Equal(root) && !slices.ContainsFunc(p.oldBeside, c.Equal) {
			p.Kept = append(p.Kept, briefOf(c))
			p.warnVouched(c, chain, s.ClusterTime())
		}
	}
	sum := sha256.New()
	for _, c := range []*pki.Certificate{p.oldRoot, root, p.config.New.Cert} {
		f := c.Fingerprint()
		sum.Write(f[:])
	}
	p.ID = hex.EncodeToString(sum.Sum(nil))[:10]
	for _, c := range s.MeshCACertificates {
		if c.SameCA(p.oldRoot) && !p.oldRoot.Equal(root) && !c.Equal(root) {
			p.refuse("old-root-in-mesh-config", "meshConfig.caCertificates", "the old root stands there too, so that it would never leave the proxies", "remove it from meshConfig.caCertificates first")
		}
	}
}

// warnVouched names a root of others that vouches for the old CA too, by a cross
// certificate: that one stays, and with it the old CA is accepted on.
func (p *Plan) warnVouched(kept *pki.Certificate, chain []*pki.Certificate, at time.Time) {
	if p.oldRoot.Equal(p.config.New.Roots.Certs[0]) || rootOf([]*pki.Certificate{kept}, chain, at) == nil {
		return
	}
	why := "it stays in the bundle and vouches for the old CA too, by a cross certificate: what the old key signs is accepted on"
	p.warn("old-ca-vouched", "root "+kept.Subject(), why, "take it out of the bundle by hand, once 'kubectl meshca verify' and 'certs' show nobody under it; where it is another mesh's and stays, the old CA is believed until its cross certificate ends")
	if p.Reason == Compromised {
		p.Exposed = append(p.Exposed, "root "+kept.Subject()+": "+why)
	}
}

// prove lays out the proof of a mesh that has this CA already.
func (p *Plan) prove(ca mesh.CASource) {
	p.target = Expectation{
		CSRProof: p.config.CSRProof, Roots: ca.Root.Certs, Trusted: ca.Root.Certs, Only: true, Accepted: ca.Root.Certs, Signer: p.config.New.Cert, Leaves: true,
	}
}

// alone is what is trusted where the mesh has this CA already: its root, and others that
// nobody has asked to take away.
func (p *Plan) alone() string {
	if len(p.Kept) == 0 {
		return "its root alone"
	}
	return fmt.Sprintf("its root, and %d others beside it (%s)", len(p.Kept), subjects(p.Kept))
}

// warnBeside names the roots that stand beside that of a CA which is there already: of
// another mesh, or left by a rotation that nobody has ended.
func (p *Plan) warnBeside() {
	if len(p.Kept) == 0 {
		return
	}
	why := fmt.Sprintf("the mesh signs with this CA already, and trusts %d other roots: %s", len(p.Kept), subjects(p.Kept))
	const remedy = "one of another mesh stays; one that was left behind is taken out of the bundle by hand, once 'kubectl meshca verify' and 'certs' show nobody under it"
	if p.Reason == Compromised {
		p.refuse("roots-beside", p.object(), why+": if it is one of these that leaked, it is in power still", remedy)
		return
	}
	p.warn("roots-beside", p.object(), why, remedy)
}

func subjects(all []Brief) string {
	names := make([]string, len(all))
	for i, b := range all {
		names[i] = b.Subject
	}
	return strings.Join(names, "; ")
}

// Course is what is written from here on: the steps, or the way back where that was
// asked for.
func (p *Plan) Course() []Step {
	if p.config.Back {
		return p.Back
	}
	return p.Steps
}

// Written is how many steps of the course are behind a rotation that was begun before:
// written, or on the way back not needed any more.
func (p *Plan) Written() int {
	if p.Standing == nil {
		return 0
	}
	return min(p.Standing.Written, len(p.Course()))
}

// LeafLife is the longest life of a workload's certificate: that long is waited for
// whoever could not be read and was accepted, before a root is taken away.
func (p *Plan) LeafLife() time.Duration { return p.leafLife }

// GoesBack reports whether the course is the way back.
func (p *Plan) GoesBack() bool { return p.config.Back }

// Phases are those of the plan, in order.
func (p *Plan) Phases() []Phase {
	if p.config.Back {
		var phases []Phase
		for _, step := range p.Back {
			if !slices.Contains(phases, step.Phase) {
				phases = append(phases, step.Phase)
			}
		}
		return phases
	}
	phases := p.Strategy.Phases()
	if p.Adopts && len(phases) > 0 {
		phases = slices.Insert(phases, 1, Adopt)
	}
	return phases
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
