package scenario_test

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal/scenario"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

type wall struct{}

func (wall) Now() time.Time                         { return time.Now() }
func (wall) After(d time.Duration) <-chan time.Time { return time.After(d) }

type finding = check.Finding

const ttl = time.Hour

// bench is a mesh, what it is rotated to, and what happened.
type bench struct {
	t                *testing.T
	ctx              context.Context
	mesh             *rehearsal.Mesh
	trial            *scenario.Trial
	oldRoot, newRoot *pki.Authority
	old, new         *pki.Authority
	foreign          *pki.Authority
	held             string
	// row is the row's name; plan the one that is under way.
	row string
	// federated are roots beside the mesh's own.
	federated []*pki.Certificate
	alarms    *falseAlarms
	plan      *rotation.Plan
	first     *check.Report // what check said before anything else
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) ca(name string) (root, signer *pki.Authority) {
	b.t.Helper()
	root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "root " + name}, Now: time.Now(), PathLen: -1})
	b.must(err)
	signer, err = root.NewIntermediate(pki.Request{Subject: pkix.Name{CommonName: "intermediate " + name}, Now: time.Now()})
	b.must(err)
	return root, signer
}

// newBench starts the mesh of a row. It is for the inside of a synctest bubble.
func newBench(t *testing.T, change func(*bench, *rehearsal.Spec)) *bench {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b := &bench{t: t, ctx: ctx}
	t.Cleanup(func() {
		cancel()
		synctest.Wait() // no goroutine stays
	})
	b.oldRoot, b.old = b.ca("A")
	b.newRoot, b.new = b.ca("B")
	b.foreign, _ = b.ca("F")
	spec := rehearsal.Spec{CA: b.old, MultiRoot: true, XDSAgent: true, Release: "1.30.3", Replicas: 2, Namespaces: []string{"a", "b"}, Proxies: 2, TTL: ttl, Lag: time.Second}
	if change != nil {
		change(b, &spec)
	}
	var err error
	b.federated = spec.Extra
	b.mesh, err = rehearsal.New(ctx, wall{}, spec)
	b.must(err)
	b.trial = &scenario.Trial{Mesh: b.mesh, Clock: wall{}, Config: rotation.Config{New: b.new, CSRProof: true, TrustFileWait: 30 * time.Second}}
	return b
}

func TestScenario(t *testing.T) {
	alarms := &falseAlarms{}
	t.Cleanup(func() { alarms.document(t) }) // once all rows are through
	for i, r := range table() {
		if testing.Short() && i%6 != 0 {
			continue // every sixth is enough for the race detector
		}
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { play(t, r, alarms) })
		})
	}
}

// mostNudges of a rotation: each re-issues every certificate, and a proxy that does not
// follow must not have that done all the time.
const mostNudges = 30

func play(t *testing.T, r row, alarms *falseAlarms) {
	b := newBench(t, r.spec)
	b.row, b.alarms = r.name, alarms
	if r.cross {
		cross, err := b.oldRoot.CrossSign(b.newRoot.Cert, time.Now())
		b.must(err)
		b.trial.Config.Cross = cross
	}
	if r.newCA != nil {
		r.newCA(b)
	}
	b.trial.Config.Override = r.override
	for _, object := range r.accept {
		if b.trial.Accept == nil {
			b.trial.Accept = map[string]string{}
		}
		b.trial.Accept[object] = "as seen elsewhere"
	}
	if r.spoil != nil {
		r.spoil(b)
	}
	if r.by != nil {
		if len(r.finds) > 0 {
			b.looks(r) // before anybody does anything
		}
		r.by(b)
		if r.shows != nil {
			if lacks := r.shows(b); lacks != "" {
				t.Errorf("by hand: %s", lacks)
			}
		}
		b.later()
		if failed := b.failed(); (len(failed) > 0) != r.breaks {
			t.Errorf("by hand: %d pairs failed: %v", len(failed), failed[:min(1, len(failed))])
		}
		return
	}
	b.watch()
	start := b.standing()
	if r.only {
		b.looks(r)
		return
	}
	half := r.strategy != "" && !r.faulty && r.meanwhile == nil && draw(r.name)%2 == 0
	if half {
		b.halfWay(r, start)
	}
	if r.meanwhile != nil {
		b.trial.Until = r.after
		if out := b.trial.Run(b.ctx); out.Err != nil {
			t.Fatalf("until %s: it ends with %v", r.after, out.Err)
		}
		b.trial.Until = ""
		r.meanwhile(b)
	}
	out := b.trial.Run(b.ctx)
	b.expect(r, out)
	nudges := 0
	for _, e := range out.Events {
		if e.Kind == rotation.EventNudge {
			nudges++
		}
	}
	if nudges > mostNudges {
		t.Errorf("the whole mesh was asked for new certificates %d times", nudges)
	}
	if len(b.failed()) > 0 && !r.broken {
		t.Errorf("while it was at work: %v", b.failed()[0])
	}
	if out.Err != nil && (r.ends == nil || !r.faulty) {
		b.closed(out)
		return
	}
	if out.Err == nil && !out.Proof.Open() {
		t.Errorf("it is done, and not proven: %v", out.Proof.Blockers[0])
	}
	for _, c := range b.federated {
		if published := b.standing().bundle; !published.Has(c) {
			t.Errorf("the root %s, which is not ours to touch, is gone", c.Subject())
		}
	}
	b.later()
	if len(b.failed()) > 0 {
		t.Errorf("FALSE PASS: it was called done, and later %v", b.failed()[0])
	}
	for ref := range b.trial.Accept {
		b.mesh.Thaw(ref)
	}
	if !half || os.Getenv("MESHCA_BOTH_WAYS") != "" {
		b.back(start)
	}
}

// later is what every mesh meets some day: renewals, a new pod, another istiod.
func (b *bench) later() {
	b.t.Helper()
	time.Sleep(2 * ttl)
	b.restart()
	time.Sleep(time.Minute)
	b.must(b.mesh.StartProxy("a", "late"))
	time.Sleep(2 * ttl)
	b.must(b.mesh.Replace("a/late")) // a bare pod is not replaced: it ends
}

func (b *bench) failed() []rehearsal.Failure {
	b.t.Helper()
	failed, judged := b.mesh.Failures()
	if judged == 0 {
		b.t.Fatal("no pair was judged: nothing is shown")
	}
	return failed
}

func (b *bench) expect(r row, out scenario.Outcome) {
	b.t.Helper()
	b.finds(r, b.first)
	var gate *rotation.GateError
	switch {
	case r.refused != "":
		if out.Plan == nil || !slices.ContainsFunc(out.Plan.Refusals, func(f rotation.Refusal) bool { return f.ID == r.refused && f.Hint != "" }) {
			b.t.Errorf("it is not refused by %s: %v, %v", r.refused, out.Plan.Refusals, out.Err)
		}
		if !errors.Is(out.Err, rotation.ErrRefused) {
			b.t.Errorf("it ends with %v", out.Err)
		}
	case r.closed != "":
		if !errors.As(out.Err, &gate) || gate.Phase != r.closed || !strings.Contains(out.Err.Error(), r.blocker) {
			b.t.Errorf("it ends with %v", out.Err)
		}
	case r.unfinished != "":
		if out.Err == nil || !strings.Contains(out.Err.Error(), r.unfinished) {
			b.t.Errorf("it ends with %v", out.Err)
		}
	case r.ends != nil:
		if out.Err == nil || !r.ends(out.Err) {
			b.t.Errorf("it ends with %v", out.Err)
		}
		if !r.faulty {
			return
		}
		// Mended, the same command goes on.
		b.mesh.Mend()
		if again := b.trial.Run(b.ctx); again.Err != nil || !again.Proof.Open() {
			b.t.Errorf("it does not go on: %v", again.Err)
		}
	default:
		if out.Err != nil {
			b.t.Errorf("it ends with %v", out.Err)
		}
		if out.Plan != nil && out.Plan.Strategy != r.strategy {
			b.t.Errorf("the strategy is %s", out.Plan.Strategy)
		}
	}
}
