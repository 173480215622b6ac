package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/tui"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// ran is a cluster as it is while a command line runs.
func ran(t *testing.T, args ...string) *cluster {
	t.Helper()
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard}
	c := newCluster(streams)
	cmd, rest, err := newRoot(c, streams).Find(args)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Fatal(err)
	}
	c.running = cmd
	return c
}

// TestCommandsStayWithTheirCluster: what is printed to be run next goes on with the
// cluster, the mesh and the user that this command line was about.
func TestCommandsStayWithTheirCluster(t *testing.T) {
	global := []string{"--context", "prod eu", "--kubeconfig=/k/c", "--as", "ann", "--as-group", "a,b", "--as-group", "c", "--token", "letmein", "--request-timeout", "5s", "-q"}
	const flags = " --as=ann --as-group=a,b --as-group=c --context='prod eu' --kubeconfig=/k/c"
	for _, test := range []struct {
		args       []string
		text, want string
	}{
		{[]string{"rotate"}, "run 'kubectl meshca rotate' again", "run 'kubectl meshca rotate' again"},
		{append([]string{"rotate"}, global...), "run 'kubectl meshca rotate' again, or 'kubectl meshca cert-manager return'",
			"run 'kubectl meshca rotate" + flags + "' again, or 'kubectl meshca cert-manager return" + flags + "'"},
		{append([]string{"check", "-n", "web", "-i", "mesh", "--revision=r1"}, global...), "'kubectl meshca verify --root'; 'kubectl meshca snapshot -i other'",
			"'kubectl meshca verify --root" + strings.Replace(flags, " --kubeconfig", " --istio-namespace=mesh --kubeconfig", 1) + " --revision=r1'; 'kubectl meshca snapshot -i other" + flags + " --revision=r1'"},
		{append([]string{"check"}, global...), "'kubectl -n istio-system get certificates -o wide' shows them", "'kubectl" + flags + " -n istio-system get certificates -o wide' shows them"},
		{append([]string{"check"}, global...), "'kubectl config get-contexts' lists them", "'kubectl --kubeconfig=/k/c config get-contexts' lists them"},
		{append([]string{"check"}, global...), "run 'kubectl meshca --help'; 'kubectl meshca ca lint', 'kubectl meshca rbac --for read'", "run 'kubectl meshca --help'; 'kubectl meshca ca lint', 'kubectl meshca rbac --for read'"},
		{append([]string{"check"}, global...), "'kubectl meshca rotate", "'kubectl meshca rotate"},
	} {
		got := ran(t, test.args...).carry(test.text)
		if got != test.want {
			t.Errorf("%q: it says\n%s\nnot\n%s", test.args, got, test.want)
		}
		if again := ran(t, test.args...).carry(got); again != got {
			t.Errorf("%q: said twice it is\n%s", test.args, again)
		}
	}
}

// TestEveryHintStaysWithItsCluster: the places at which hints are shown.
func TestEveryHintStaysWithItsCluster(t *testing.T) {
	c := ran(t, "rotate", "--context", "prod")
	const hint, want = "'kubectl meshca verify' tells", "'kubectl meshca verify --context=prod' tells"
	plan := &rotation.Plan{Refusals: []rotation.Refusal{{Object: "o", Why: "w", Hint: hint}}, Warnings: []rotation.Refusal{{Object: "o", Why: hint}},
		Exposed: []string{hint}, Afterwards: []string{hint}, Outage: []string{hint}}
	for _, format := range []string{"table", "json"} {
		var out, progress bytes.Buffer
		p := c.printer(genericiooptions.IOStreams{Out: &out, ErrOut: &progress}, format)
		if err := p.plan(plan); err != nil {
			t.Fatal(err)
		}
		p.event(rotation.Event{Kind: rotation.EventStopped, Message: hint})
		text := out.String()
		if format == "json" {
			text = unescaped(t, text)
		}
		if n := strings.Count(text, want); n != 6 {
			t.Errorf("-o %s carries it %d times, not 6:\n%s", format, n, text)
		}
	}
	if plan.Refusals[0].Hint != hint || plan.Afterwards[0] != hint {
		t.Error("the plan itself was changed, which goes into the audit trail")
	}
	if m := c.carryManaged(&rotation.Managed{Steps: []string{hint}}); m.Steps[0] != want {
		t.Errorf("a step of cert-manager's says %q", m.Steps[0])
	}
	findings := []check.Finding{{Hint: hint}}
	c.carryFindings(findings)
	if findings[0].Hint != want {
		t.Errorf("a finding says %q", findings[0].Hint)
	}
	b := &wizardBackend{named: c}
	var p *tui.Problem
	if err := b.problem(found(errors.New("x"), hint)); !errors.As(err, &p) || p.Hint != want {
		t.Errorf("the wizard says %v", p)
	}
}

func unescaped(t *testing.T, lines string) string {
	t.Helper()
	var all strings.Builder
	decoder := json.NewDecoder(strings.NewReader(lines))
	for decoder.More() {
		var line map[string]any
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		if err := e.Encode(line); err != nil {
			t.Fatal(err)
		}
		all.Write(text.Bytes())
	}
	return all.String()
}
