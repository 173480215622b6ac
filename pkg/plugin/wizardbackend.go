package plugin

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/tui"
)

// wizardBackend does for the wizard what the commands do for their flags.
type wizardBackend struct {
	// connect opens a look at the mesh; a look that makes throw-away requests takes
	// back what they left.
	connect func() (*observer, error)
	clock   rotation.Clock
	cluster string
	flags   []string // those that name the cluster, for commands to copy
	options rotateOptions

	mu       sync.Mutex
	of       tui.Choice // what ca and seal are from
	ca       newCA
	seal     *sealing
	sealed   bool
	accepted map[string]string
	cancel   context.CancelCauseFunc // of the run at work
	goOn     chan struct{}           // of the one that is paused
}

// Why a run of the engine was ended by its own wizard.
var (
	errPaused   = errors.New("paused")           //nolint:gochecknoglobals // a sentinel
	errAccepted = errors.New("accepted by name") //nolint:gochecknoglobals // a sentinel
)

// Look reads the mesh and judges it as check, versions, verify and envoy do.
func (b *wizardBackend) Look(ctx context.Context, progress func(done, of int)) (*tui.Look, error) {
	observer, err := b.connect()
	if err != nil {
		return nil, problem(err)
	}
	observer.collector.Progress = progress
	s, err := observer.whole(ctx)
	if err = errors.Join(err, observer.close(ctx)); err != nil {
		return nil, problem(err)
	}
	look := b.judge(s)
	if len(s.ControlPlanes) == 0 {
		return look, nil
	}
	look.Namespace = s.ControlPlanes[0].Namespace
	kept, err := rotation.ReadStaged(ctx, observer.collector.Kube, look.Namespace)
	if err != nil {
		return nil, problem(explain(err))
	}
	if kept != nil {
		look.Underway = &tui.Underway{ID: kept.ID, Strategy: kept.Strategy, Phase: kept.Phase, Step: kept.Step, Holder: kept.Holder, Started: kept.Started, NewRoot: kept.NewRoot.Subject}
	}
	return look, nil
}

func (b *wizardBackend) judge(s *mesh.Snapshot) *tui.Look {
	report := newCheckReport(s, check.DefaultPolicy(), pki.SeverityError)
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
		look.Versions = append(look.Versions, tui.Version{Namespace: i.Namespace, Name: i.Name, Kind: kind, Revision: revisions[i.Namespace+"/"+i.Name], Release: release, From: i.From, Verdict: i.Verdict, Rules: i.Rules, Possible: i.Possible})
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
	report, err := newVerifyReport(s, nil, false)
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
	observer, err := b.connect()
	if err != nil {
		return nil, problem(err)
	}
	p, err := b.prepare(ctx, observer, c)
	if err = errors.Join(err, observer.close(ctx)); err != nil {
		return nil, problem(err)
	}
	return p.plan, nil
}

func (b *wizardBackend) prepare(ctx context.Context, observer *observer, c tui.Choice) (prepared, error) {
	ca, _, err := b.material(c)
	if err != nil {
		return prepared{}, err
	}
	o := b.options
	o.oldRootKey, o.strategy = c.OldRootKey, string(c.Strategy)
	if o.reason = string(c.Reason); o.reason == "" {
		o.reason = string(rotation.Expiring)
	}
	return o.prepare(ctx, observer, ca)
}

// material is the CA that a choice names, made or read once: what was planned is
// what is rotated to.
func (b *wizardBackend) material(c tui.Choice) (newCA, *sealing, error) {
	if c.Resume {
		return newCA{}, nil, nil
	}
	c.Strategy, c.Reason = "", ""
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ca.authority != nil && b.of == c {
		return b.ca, b.seal, nil
	}
	seal, err := sealFor(c)
	if err != nil {
		return newCA{}, nil, err
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

// Rotate runs the engine until it has ended for good. A pause ends its run, with
// the mesh safe, and going on is another run: it goes on from what is true.
func (b *wizardBackend) Rotate(ctx context.Context, c tui.Choice, emit func(rotation.Event)) error {
	for {
		run, cancel := context.WithCancelCause(ctx)
		goOn := make(chan struct{}, 1)
		b.mu.Lock()
		b.cancel, b.goOn = cancel, goOn
		b.mu.Unlock()
		err := b.once(run, c, func(e rotation.Event) {
			if e.Kind != rotation.EventFailed || !ours(run) {
				emit(e)
			}
		})
		ordered := ours(run)
		cancel(nil)
		switch {
		case err == nil || !ordered || ctx.Err() != nil:
			return problem(outcome(err))
		case errors.Is(context.Cause(run), errPaused):
			emit(b.said("paused", "nothing new is begun"))
			select {
			case <-goOn:
				emit(b.said("resumed", "going on from what is true now"))
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// ours reports whether a run was ended by an order, and not by the user leaving.
func ours(run context.Context) bool {
	cause := context.Cause(run)
	return errors.Is(cause, errPaused) || errors.Is(cause, errAccepted)
}

func (b *wizardBackend) said(kind rotation.EventKind, message string) rotation.Event {
	return rotation.Event{Time: b.clock.Now(), Kind: kind, Message: message}
}

// once is one run of the engine.
func (b *wizardBackend) once(ctx context.Context, c tui.Choice, emit func(rotation.Event)) (err error) {
	observer, err := b.connect()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, observer.close(ctx)) }()
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
	o := b.options
	o.timeout = -1 // the plan's own: whoever watches ends it himself
	engine := o.engine(observer, p.plan, b.clock, b.accepts(), emit)
	if seal != nil {
		engine.Seal = func(old map[string][]byte) (string, error) { return seal.file, b.write(seal, p.plan, old, ca) }
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

func (b *wizardBackend) accepts() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]string{}
	for object, reason := range b.accepted {
		all[object] = reason
	}
	return all
}

// Steer orders the run at work.
func (b *wizardBackend) Steer(_ context.Context, o tui.Order) error {
	if why := b.Unable(o.Act); why != "" {
		return errors.New(why)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cancel == nil {
		return errors.New("no rotation is running")
	}
	switch o.Act {
	case tui.Pause:
		b.cancel(errPaused)
	case tui.Resume:
		select {
		case b.goOn <- struct{}{}:
		default:
		}
	case tui.Accept:
		if b.accepted == nil {
			b.accepted = map[string]string{}
		}
		b.accepted[o.Object] = o.Reason
		b.cancel(errAccepted)
	}
	return nil
}

// Unable names what the engine does not offer.
func (b *wizardBackend) Unable(a tui.Act) string {
	if a == tui.RollBack {
		return "not offered while a rotation runs; to stop here is safe"
	}
	return ""
}

// Command is rotate's command line for a choice; a passphrase is never in it.
func (b *wizardBackend) Command(c tui.Choice) string {
	words := append([]string{"kubectl", "meshca", "rotate"}, b.flags...)
	add := func(flag, value string) {
		if value != "" {
			words = append(words, flag, quoted(value))
		}
	}
	switch {
	case c.Resume:
		return strings.Join(words, " ")
	case c.Make:
		words = append(words, "--new-ca")
	default:
		add("--root", c.Root)
		add("--ca-cert", c.Cert)
		add("--ca-key", c.Key)
		add("--chain", c.ChainFile)
	}
	add("--old-root-key", c.OldRootKey)
	add("--strategy", string(c.Strategy))
	to := c.Recipient
	if to == "" {
		to = passphraseWord
	}
	add("--seal-to", to)
	add("--sealed-file", c.SealedFile)
	return strings.Join(words, " ")
}

// quoted is a word for a POSIX shell.
func quoted(word string) string {
	plainly := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@=,+", r)
	}
	if strings.IndexFunc(word, func(r rune) bool { return !plainly(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Save writes a new file for its owner alone.
func (b *wizardBackend) Save(name, text string) (string, error) {
	made := &created{}
	if err := made.file(name, []byte(text), 0o600); err != nil {
		return "", errors.Join(fmt.Errorf("saving the result: %w", err), made.undo())
	}
	if full, err := filepath.Abs(name); err == nil {
		return full, nil
	}
	return name, nil
}

// problem carries a failure's hint to the wizard.
func problem(err error) error {
	if err == nil {
		return nil
	}
	_, hint := codeOf(err)
	return &tui.Problem{Err: err, Hint: hint}
}
