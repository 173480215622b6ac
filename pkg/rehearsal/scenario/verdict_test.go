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
		// Who was accepted unread is given a leaf's life before that step.
		failed := slices.DeleteFunc(b.foresee(step), func(f rehearsal.Failure) bool {
			return slices.ContainsFunc(e.Gate.Accepted, func(a rotation.Blocker) bool { return a.Object == f.Client || a.Object == f.Server })
		})
		if len(failed) > 0 {
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
	return map[string]string{
		"check: bundle-split":          "this release loses a root as soon as there are two: nothing fails until then",
		"check: intermediate-ignored":  "this pre-release does not load a new signer: nothing fails until one comes",
		"check: ca-waits":              "another CA waits in the Secret for the next start of an istiod: who would fail then is the plan's to say, and here nobody would, for the old root vouches or both are trusted",
		"check: istiod":                "an istiod does not sign with what the Secret holds: a rotation under way looks so, and so does one that was forgotten",
		"check: configmap":             "a foreign ConfigMap cuts new pods of its namespace off from istiod, not one proxy from another",
		"check: webhook":               "a webhook that does not know istiod's root keeps pods from being made, not one proxy from another",
		"check: configmap-immutable":   "nobody can mend this ConfigMap by writing it: it keeps the root of its day",
		"check: ca-wrong-key":          "istiod goes on with what it has in memory, and does not start again",
		"check: ca-faulty":             "istiod goes on with what it has in memory, and does not start again",
		"check: proxy-unknown":         "what cannot be read is never yes",
		"check: proxy":                 "proxies have other roots than the CA's own file says: a change that is under way, or that nobody has finished",
		"check: webhook-chain-refused": "the API server would refuse the istiod behind this webhook, so that pods are not made, not one proxy another",
		"check: unread":                "what cannot be read is never yes",
		"check: one-root-only":         "this ztunnel loses a root as soon as there are two: nothing fails until then",
		"gate: configmap seen":         "a foreign ConfigMap cuts new pods of its namespace off from istiod, not one proxy from another",
		"gate: webhook seen":           "a webhook that does not know istiod's root keeps pods from being made, not one proxy from another",
		"gate: proxy seen":             "its agent reads istiod's root at its start alone, so that after the next write its requests would fail, and its certificate end: later than one write is foreseen; or what it lacks is needed by the write after the next",
		"gate: istiod seen":            "a replica lags: what it would hand out after the next write is foreseen as if it had loaded it",
		"gate: proxy unknown":          "what cannot be read is never yes",
		"gate: vm unknown":             "what cannot be read is never yes",
		"gate: reading unknown":        "what cannot be read is never yes",
	}
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
	there, _ := os.ReadFile(alarmsFile) // where there is none, it lacks every verdict
	for _, v := range verdicts {
		if !strings.Contains(string(there), "| "+v+" | "+explained()[v]+" |") {
			t.Errorf("docs/false-alarms.md lacks %q as it is explained here: run the test with -update", v)
		}
	}
}
