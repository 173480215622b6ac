package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/rotation/traffic"
	"github.com/meshca/kubectl-meshca/pkg/tui"
	"k8s.io/client-go/kubernetes"
)

// wizardBackend does for the wizard what the commands do for their flags.
type wizardBackend struct {
	// connect opens a look at the mesh; a look that makes throw-away requests takes
	// back what they left.
	connect func() (*observer, error)
	clock   rotation.Clock
	cluster string
	flags   []string // those that name the cluster, for commands to copy
	named   *cluster // that one, for hints; nil where it is in memory
	options rotateOptions
	// counted reads real traffic; nil reads the proxies' own counters.
	counted func(context.Context) (traffic.Verdict, error)

	mu       sync.Mutex
	of       tui.Choice // what ca and seal are from
	ca       newCA
	seal     *sealing
	sealed   bool
	accepted map[string]string
	work     *work // nil where nothing runs
}

// looking uses an observer, and takes back what it has left in the cluster.
func (b *wizardBackend) looking(ctx context.Context, use func(*observer) error) error {
	observer, err := b.connect()
	if err != nil {
		return err
	}
	return errors.Join(use(observer), observer.close(ctx))
}

// whole is a look at all of the mesh, and the way to what it does not hold.
func (b *wizardBackend) whole(ctx context.Context, progress func(done, of int)) (s *mesh.Snapshot, kube kubernetes.Interface, err error) {
	err = b.looking(ctx, func(observer *observer) (err error) {
		observer.collector.Progress, kube = progress, observer.collector.Kube
		s, err = observer.whole(ctx)
		return err
	})
	return s, kube, err
}

// Look reads the mesh and judges it as check, versions, verify and envoy do.
func (b *wizardBackend) Look(ctx context.Context, progress func(done, of int)) (*tui.Look, error) {
	s, kube, err := b.whole(ctx, progress)
	if err != nil {
		return nil, b.problem(err)
	}
	look := b.judge(s)
	if len(s.ControlPlanes) == 0 {
		return look, nil
	}
	if look.Namespace, err = homeOf(s); err != nil {
		return nil, b.problem(err)
	}
	kept, err := rotation.ReadStaged(ctx, kube, look.Namespace)
	if err != nil {
		return nil, b.problem(explain(err))
	}
	if kept != nil {
		look.Underway = &tui.Underway{ID: kept.ID, Strategy: kept.Strategy, Phase: kept.Phase, Step: kept.Step, Back: kept.Back, Holder: kept.Holder, Started: kept.Started, NewRoot: kept.NewRoot.Subject}
		lease, err := rotation.ReadLease(ctx, kube, look.Namespace, b.clock.Now().Add(-time.Duration(s.ClockSkew)))
		if err == nil && lease != nil && lease.Alive { // who cannot be told is met by the run itself
			look.Underway.Running, look.Underway.Holder = true, lease.Holder.String()
		}
	}
	return look, nil
}

func (b *wizardBackend) judge(s *mesh.Snapshot) *tui.Look {
	report := newCheckReport(s, check.DefaultPolicy(), pki.SeverityError)
	b.named.carryFindings(report.Items)
	look := &tui.Look{
		At: s.TakenAt, Cluster: b.cluster, Verdict: report.Verdict,
		Check: check.Report{Findings: report.Items, Passed: report.Rules, Skipped: report.Skipped, Ends: report.Ends},
	}
	revisions := map[string]string{}
	for _, plane := range s.ControlPlanes {
		for _, r := range plane.Replicas {
			revisions[plane.Namespace+"/"+r.Pod] = plane.Revision
		}
		revisions[plane.Namespace+"/"+plane.Name] = plane.Revision
	}
	for _, p := range s.Proxies {
		revisions[p.Ref()] = p.Revision
	}
	for _, i := range newVersionReport(s).Items {
		kind := i.ProxyKind
		if kind == "" {
			kind = string(i.Subject)
		}
		release := i.Version
		if i.AtLeast {
			release = ">= " + release
		}
		look.Versions = append(look.Versions, tui.Version{Namespace: i.Namespace, Name: i.Name, Kind: kind, Revision: revisions[i.Namespace+"/"+i.Name], Release: release, From: i.From, Verdict: i.Verdict, Rules: b.named.carryRules(i.Rules), Possible: i.Possible})
	}
	look.Proof = proofOf(s)
	for _, i := range newEnvoyReport(s.Proxies, pki.Bundle{}, s.TakenAt).Items {
		e := tui.Envoy{Namespace: i.Namespace, Name: i.Name, Kind: string(i.ProxyKind), Version: i.Version, State: string(i.State), Reason: i.Reason,
			Evidence: string(i.Evidence), Confirmed: i.LeafConfirmed, SPIFFE: i.SPIFFE, LeafUpdated: i.LeafUpdated, RootsUpdated: i.RootsUpdated}
		if i.Leaf != nil {
			e.Serial, e.Issuer, e.NotBefore, e.NotAfter = i.Leaf.Serial, i.Leaf.Issuer, i.Leaf.NotBefore, i.Leaf.NotAfter
		}
		for _, r := range i.Roots {
			e.Roots = append(e.Roots, r.Subject)
		}
		look.Envoys = append(look.Envoys, e)
	}
	return look
}

func proofOf(s *mesh.Snapshot) tui.Proof {
	report, err := newVerifyReport(s, wantedRoots{}, false)
	if err != nil {
		return tui.Proof{Error: err.Error()}
	}
	proof := tui.Proof{Proven: report.Verified, Status: report.Status, Classes: report.Classes, Pairs: report.pairs}
	proof.Status.Blockers = report.Items
	for _, r := range report.Roots {
		proof.Roots = append(proof.Roots, r.Subject+"  "+r.Fingerprint.Short())
	}
	return proof
}

// Plan says what a choice would do.
func (b *wizardBackend) Plan(ctx context.Context, c tui.Choice) (*rotation.Plan, error) {
	var p prepared
	err := b.looking(ctx, func(observer *observer) (err error) {
		p, err = b.prepare(ctx, observer, c)
		return err
	})
	if err != nil {
		return nil, b.problem(err)
	}
	return b.named.carryPlan(p.plan), nil
}

func (b *wizardBackend) prepare(ctx context.Context, observer *observer, c tui.Choice) (prepared, error) {
	ca, _, err := b.material(c)
	if err != nil {
		return prepared{}, err
	}
	o := b.optionsOf(c)
	p, err := o.prepare(ctx, observer, ca)
	if err == nil && o.back {
		err = o.mayGoBack(p)
	}
	if err == nil && c.Renew && p.ca != nil {
		b.renewed(c, p.ca)
	}
	return p, err
}

// renewed keeps the root that was certified anew for a choice: what was planned is what
// is rotated to.
func (b *wizardBackend) renewed(c tui.Choice, ca *pki.Authority) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == sameMaterial(c) && b.ca.authority == nil {
		b.ca = newCA{authority: ca, renewed: true}
	}
}

// sameMaterial is of a choice what decides which CA it is.
func sameMaterial(c tui.Choice) tui.Choice {
	c.Strategy, c.Reason = "", ""
	return c
}

// strategyOf is a choice's own, or what keeps the key that is to be kept.
func strategyOf(c tui.Choice) rotation.Strategy {
	if c.Renew && c.Strategy == "" {
		return rotation.SameKey
	}
	return c.Strategy
}

// optionsOf are the flags that a choice amounts to.
func (b *wizardBackend) optionsOf(c tui.Choice) rotateOptions {
	o := b.options
	o.oldRootKey, o.strategy, o.back = c.OldRootKey, string(strategyOf(c)), c.Back
	if o.reason = string(c.Reason); o.reason == "" {
		o.reason = string(rotation.Expiring)
	}
	o.timeout = untold // the plan's own: whoever watches ends it himself
	return o
}

// material is the CA that a choice names, made or read once: what was planned is
// what is rotated to.
func (b *wizardBackend) material(c tui.Choice) (newCA, *sealing, error) {
	if c.Resume {
		return newCA{}, nil, nil
	}
	c = sameMaterial(c)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seal != nil && b.of == c {
		return b.ca, b.seal, nil
	}
	seal, err := sealFor(c)
	if err != nil {
		return newCA{}, nil, err
	}
	if c.Renew { // from the mesh's own, once that was read
		b.of, b.ca, b.seal, b.sealed = c, newCA{}, seal, false
		return b.ca, seal, nil
	}
	flags := caFlags{make: c.Make, keySpec: string(pki.ECDSAP256), root: c.Root, cert: c.Cert, key: c.Key, chain: c.ChainFile}
	ca, err := flags.load(b.clock.Now())
	if err != nil {
		return newCA{}, nil, err
	}
	b.of, b.ca, b.seal, b.sealed = c, ca, seal, false
	return ca, seal, nil
}

// sealFor is where the sealed copy of a choice goes.
func sealFor(c tui.Choice) (*sealing, error) {
	if c.Passphrase == "" {
		recipient, err := pki.ParseRecipient(c.Recipient)
		if err != nil {
			return nil, failed(err, "a recipient begins with age1; 'age-keygen' makes one")
		}
		if exists(c.SealedFile) {
			return nil, failed(fmt.Errorf("%s is there already", c.SealedFile), "name another: a sealed copy is never written over")
		}
		return &sealing{file: c.SealedFile, recipients: []age.Recipient{recipient}}, nil
	}
	recipient, err := pki.PassphraseRecipient(c.Passphrase)
	if err != nil {
		return nil, failed(err, "")
	}
	identity, err := pki.PassphraseIdentity(c.Passphrase)
	if err != nil {
		return nil, failed(err, "")
	}
	if exists(c.SealedFile) {
		return nil, failed(fmt.Errorf("%s is there already", c.SealedFile), "name another: a sealed copy is never written over")
	}
	return &sealing{file: c.SealedFile, recipients: []age.Recipient{recipient}, trial: []age.Identity{identity}}, nil
}

// once is one run of the engine.
func (b *wizardBackend) once(ctx context.Context, c tui.Choice, commands <-chan rotation.Command, emit func(rotation.Event)) error {
	return b.looking(ctx, func(observer *observer) error { return b.runOn(ctx, observer, c, commands, emit) })
}

func (b *wizardBackend) runOn(ctx context.Context, observer *observer, c tui.Choice, commands <-chan rotation.Command, emit func(rotation.Event)) error {
	p, err := b.prepare(ctx, observer, c)
	if err != nil {
		return err
	}
	if err := refusal(p.plan); err != nil {
		return err
	}
	ca, seal, err := b.material(c)
	if err != nil {
		return err
	}
	observer.prober.CSR = !b.options.noCSRProof
	o := b.optionsOf(c)
	engine := o.engine(observer, p.plan, b.clock, b.accepts(), emit)
	engine.Commands = commands
	if seal != nil {
		engine.Seal = func(old rotation.SecretCopy) (string, error) { return seal.file, b.write(seal, p.plan, old.Data, ca) }
	}
	return engine.Run(ctx, p.plan, p.staged)
}

// write makes the sealed copy once: a run that is stopped right after it finds it
// made.
func (b *wizardBackend) write(seal *sealing, plan *rotation.Plan, old map[string][]byte, ca newCA) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sealed {
		return nil
	}
	if err := seal.write(plan, old, ca); err != nil {
		return err
	}
	b.sealed = true
	return nil
}

// problem carries a failure's hint to the wizard.
func (b *wizardBackend) problem(err error) error {
	if err == nil {
		return nil
	}
	_, hint := codeOf(err)
	return &tui.Problem{Err: err, Hint: b.named.carry(hint)}
}
