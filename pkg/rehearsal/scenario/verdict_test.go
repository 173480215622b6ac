package scenario_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal/scenario"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// watch holds every verdict of every run against what is so: a gate that opens, and a
// check without a fault, may meet no pair that fails, nor one that would once istiods
// have what comes next.
func (b *bench) watch() {
	b.trial.Emit = func(e rotation.Event) {
		switch e.Kind {
		case rotation.EventPlan:
			b.plan = e.Plan
		case rotation.EventPassed:
			b.open(e)
		}
	}
	b.trial.Checked = func(s *mesh.Snapshot, out scenario.Outcome) {
		if b.first == nil {
			b.first = &out.Check
		}
		now := b.mesh.Failing()
		ca, ok := b.present(s)
		if !ok {
			return // no CA of ours
		}
		then, err := b.mesh.Foresee(ca, append([]*pki.Certificate{ca.Cert}, ca.Chain...), ca.Roots.Certs)
		b.must(err)
		bad := slices.Concat(now, then)
		green := out.Check.Worst() != pki.SeverityError && len(out.Check.Skipped) == 0
		if green && len(bad) > 0 {
			b.t.Errorf("FALSE PASS: check finds no fault, and %v", bad[0])
		}
		if len(bad) > 0 {
			return
		}
		for _, f := range out.Check.Findings {
			if f.Severity == pki.SeverityError {
				b.alarms.add(b.row, "check: "+f.ID)
			}
		}
	}
}

// present is the CA that the mesh would load now, with its key.
func (b *bench) present(s *mesh.Snapshot) (*pki.Authority, bool) {
	ca := s.ControlPlanes[0].CA
	layout, ok := mesh.LayoutOf(ca.Kind)
	if !ok && ca.Kind != mesh.CASelfSigned || len(ca.Cert.Certs) == 0 {
		return nil, false
	}
	if ca.Kind == mesh.CASelfSigned {
		layout.Key = pki.KeyFile
	}
	secret, err := b.mesh.Kube.CoreV1().Secrets(ca.Namespace).Get(b.ctx, ca.Secret, metav1.GetOptions{})
	if err != nil {
		return nil, false // a fault of the row's
	}
	key, err := pki.ParseKey(secret.Data[layout.Key])
	if err != nil {
		return nil, false
	}
	a := ca.Authority()
	if a == nil {
		return nil, false
	}
	a.Key = key
	return a, a.KeyMatches()
}

// steps are those of the run that is under way.
func (b *bench) steps() []rotation.Step {
	if b.trial.Back || b.trial.Config.Back {
		return b.plan.Back
	}
	return b.plan.Steps
}

// next is the step behind one, the first behind the start; false at the end.
func (b *bench) next(phase rotation.Phase, name string) (rotation.Step, bool) {
	steps := b.steps()
	i := slices.IndexFunc(steps, func(s rotation.Step) bool { return s.Phase == phase && s.Name == name })
	if i < 0 && phase != rotation.Prepare || i+1 >= len(steps) {
		return rotation.Step{}, false
	}
	return steps[i+1], true
}

// foresee lists who would fail by a step.
func (b *bench) foresee(step rotation.Step) []rehearsal.Failure {
	b.t.Helper()
	roots, err := pki.ParseBundle(step.Roots)
	b.must(err)
	signer, chain := b.old, append([]*pki.Certificate{b.old.Cert}, b.old.Chain...)
	if b.plan.OldSigner.Fingerprint == b.oldRoot.Cert.Fingerprint() {
		signer, chain = b.oldRoot, []*pki.Certificate{b.oldRoot.Cert} // self-signed
	}
	if step.Signs == "new" {
		bundle, err := pki.ParseBundle(step.Chain)
		b.must(err)
		signer, chain = b.new, bundle.Certs
	}
	failed, err := b.mesh.Foresee(signer, chain, roots.Certs)
	b.must(err)
	return failed
}

// open holds a gate that has opened against what is so.
func (b *bench) open(e rotation.Event) {
	b.t.Helper()
	where := fmt.Sprintf("phase %s (%s)", e.Phase, e.Step)
	if failed := b.mesh.Failing(); len(failed) > 0 {
		b.t.Errorf("FALSE PASS: %s opens, and %v", where, failed[0])
	}
	if step, ok := b.next(e.Phase, e.Step); ok {
		if failed := b.foresee(step); len(failed) > 0 {
			b.t.Errorf("FALSE PASS: %s opens, and by %s (%s) %v", where, step.Phase, step.Name, failed[0])
		}
	}
}

// closed notes a gate that stays closed though nobody would fail.
func (b *bench) closed(out scenario.Outcome) {
	b.t.Helper()
	var gate *rotation.GateError
	if !errors.As(out.Err, &gate) || len(b.mesh.Failing()) > 0 {
		return
	}
	step, ok := b.next(gate.Phase, gate.Step)
	if !ok || len(b.foresee(step)) > 0 {
		return
	}
	for _, blocker := range gate.Status.Blockers {
		why := "seen"
		if blocker.Unknown {
			why = "unknown"
		}
		b.alarms.add(b.row, "gate: "+blocker.Kind+" "+why)
	}
}

// falseAlarms are verdicts of fault where no pair fails or would.
type falseAlarms struct {
	mu   sync.Mutex
	seen map[string][]string // rows by verdict
}

func (a *falseAlarms) add(row, verdict string) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen == nil {
		a.seen = map[string][]string{}
	}
	if !slices.Contains(a.seen[verdict], row) {
		a.seen[verdict] = append(a.seen[verdict], row)
	}
}

// explained says of every false alarm why it is one, and meant.
func explained() map[string]string {
	return map[string]string{}
}

const alarmsFile = "../../../docs/false-alarms.md"

// update is -update, which others of this test binary may have defined.
func update() bool {
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true"
}

// document holds what was seen against the table in docs, or writes it.
func (a *falseAlarms) document(t *testing.T) {
	if only := flag.Lookup("test.run").Value.String(); testing.Short() || t.Failed() || only != "" && only != "TestScenario$" {
		return // not all rows were played, or not to their ends
	}
	var text strings.Builder
	text.WriteString("# Verdicts of fault where no pair fails\n\nWritten from the table of scenarios (`go test ./pkg/rehearsal/scenario -run 'TestScenario$' -update`): in these rows `check` finds an error, or a gate\nstays closed, though no two proxies refuse each other and none would after the next write. A green verdict where a pair fails does not occur: the table's test\nfails on it, at every gate, check and proof.\n\n| verdict | why it is one, and meant | rows |\n|---|---|---|\n")
	var verdicts []string
	for v := range a.seen {
		verdicts = append(verdicts, v)
	}
	slices.Sort(verdicts)
	for _, v := range verdicts {
		slices.Sort(a.seen[v])
		why, ok := explained()[v]
		if !ok {
			t.Errorf("FALSE FAIL without an explanation: %s in %v", v, a.seen[v])
		}
		fmt.Fprintf(&text, "| %s | %s | %s |\n", v, why, strings.Join(a.seen[v], ", "))
	}
	if update() {
		if err := os.WriteFile(alarmsFile, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if there, _ := os.ReadFile(alarmsFile); string(there) != text.String() {
		t.Errorf("docs/false-alarms.md is not what was seen: run the test with -update")
	}
}
