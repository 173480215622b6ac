package plugin

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"
)

// advice is what testdata/hints.yaml says of some IDs beside cause and remedy.
type advice struct {
	IDs   []string `json:"ids"`
	Cause string   `json:"cause"`
	Risk  string   `json:"risk"`
	Run   []string `json:"run"`
}

func readAdvice(t *testing.T) (all []advice) {
	t.Helper()
	raw, err := os.ReadFile("testdata/hints.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(raw, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// hintGroup is where IDs come from.
type hintGroup struct {
	title, about string
	hints        []hint
}

// hintGroups are all IDs that the code writes out.
func hintGroups(t *testing.T) []hintGroup {
	t.Helper()
	var releases, material []hint
	for _, r := range check.VersionRules() {
		var ranges []string
		for _, in := range r.Ranges {
			text, err := in.MarshalText()
			if err != nil {
				t.Fatal(err)
			}
			ranges = append(ranges, string(text))
		}
		releases = append(releases, hint{r.ID, string(r.Severity), string(r.Subject) + " " + strings.Join(ranges, "; ") + ": " + r.Message, r.Hint})
	}
	for _, r := range pki.LintRules() {
		material = append(material, hint{r.ID, string(r.Severity), r.About, r.Hint})
	}
	return []hintGroup{
		{"Findings", "What `check` says of a mesh.", findingsOf(t, "../check")},
		{"Releases", "What `versions` and `check` know against a release.", releases},
		{"CA material", "What `ca lint` finds; `check` says the same of the CA in the cluster as `ca-ID`, `plan` and `rotate` refuse a new CA with the errors.", material},
		{"Refusals", "Why `plan`, `rotate` and `cert-manager` do not go on (error), or what they warn of.", refusalsOf(t, "../rotation")},
	}
}

// hintsPage is every ID of a finding or refusal, each under an anchor of its name
// with cause, remedy, risk and commands.
func hintsPage(t *testing.T) []byte {
	t.Helper()
	var b strings.Builder
	b.WriteString(generated + "# Hints\n\nEvery finding and refusal has an ID that stays, and a section of that name below. … stands for what the mesh at hand fills in.\n\n## Checks\n\n`kubectl meshca check` holds these rules. One that could not look has not passed.\n\n| rule | category | holds where |\n|---|---|---|\n")
	for _, r := range check.Rules() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.ID, r.Category, cell(r.About))
	}
	told := map[string]advice{}
	for _, a := range readAdvice(t) {
		for _, id := range a.IDs {
			told[id] = a
		}
	}
	sections := map[string][]string{} // lines by ID
	for _, g := range hintGroups(t) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", g.title, g.about)
		slices.SortStableFunc(g.hints, func(a, b hint) int { return strings.Compare(a.id, b.id) })
		var links []string
		for _, h := range slices.Compact(g.hints) {
			if strings.Contains(h.id, "…") {
				continue
			}
			if link := fmt.Sprintf("[%s](#%s)", h.id, h.id); !slices.Contains(links, link) {
				links = append(links, link)
			}
			line := "- **" + h.severity + "**"
			if cause := cell(h.cause); strings.Trim(cause, "….: ") != "" {
				line += ": " + cause
			}
			if remedy := cell(h.remedy); strings.Trim(remedy, "… ") != "" {
				line += ". *What to do*: " + remedy
			}
			sections[h.id] = append(sections[h.id], line)
		}
		b.WriteString(strings.Join(links, " · ") + "\n")
	}
	b.WriteString("\n## Each by its ID\n")
	for _, id := range slices.Sorted(maps.Keys(told)) {
		a := told[id]
		fmt.Fprintf(&b, "\n### %s\n\n", id)
		if strings.Contains(id, ".") {
			fmt.Fprintf(&b, "<a id=%q></a>\n\n", id) // a heading's own anchor has no dots
		}
		if a.Cause != "" && !slices.ContainsFunc(sections[id], func(line string) bool { return strings.Contains(line, "**: ") }) {
			fmt.Fprintf(&b, "- **Cause**: %s\n", cell(a.Cause))
		}
		for _, line := range slices.Compact(sections[id]) {
			b.WriteString(line + "\n")
		}
		fmt.Fprintf(&b, "- **Risk**: %s\n\n```sh\n%s\n```\n", cell(a.Risk), strings.Join(a.Run, "\n"))
	}
	return []byte(b.String())
}

// Every ID that the code writes out has risk and commands, once; what has no cause in
// the code has one in the file; and nothing is told of IDs that are not there.
func TestEveryHintIsWhole(t *testing.T) {
	said := map[string]bool{} // IDs, and whether the code says their cause
	for _, g := range hintGroups(t) {
		for _, h := range g.hints {
			if !strings.Contains(h.id, "…") {
				said[h.id] = said[h.id] || strings.Trim(h.cause, "….: ") != ""
			}
		}
	}
	told := map[string]bool{}
	for _, a := range readAdvice(t) {
		if a.Risk == "" || len(a.Run) == 0 {
			t.Errorf("%v: no risk, or no command", a.IDs)
		}
		for _, id := range a.IDs {
			if told[id] {
				t.Errorf("%s stands twice", id)
			}
			told[id] = true
			if known, ok := said[id]; !known && a.Cause == "" {
				t.Errorf("%s: nothing says its cause (in the code: %v)", id, ok)
			}
		}
		for _, command := range a.Run {
			if err := understood(command); err != nil {
				t.Errorf("%v: %s: %v", a.IDs, command, err)
			}
		}
	}
	for id := range said {
		if !told[id] {
			t.Errorf("%s: testdata/hints.yaml says neither its risk nor what to run", id)
		}
	}
}

// understood holds the plugin's own command lines against its flags.
func understood(line string) error {
	_, rest, ok := strings.Cut(line, "kubectl meshca ")
	if !ok {
		return nil
	}
	rest, _, _ = strings.Cut(rest, "|")
	root := NewRoot(genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard})
	cmd, args, err := root.Find(strings.Fields(rest))
	if err != nil {
		return err
	}
	if cmd == root {
		return errors.New("no such command")
	}
	if err := cmd.ParseFlags(args); err != nil && !errors.Is(err, pflag.ErrHelp) {
		return err
	}
	return nil
}
