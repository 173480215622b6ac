package scenario_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"
)

// mutant is one breakage on purpose: a text of one file, exactly as it is there and
// there alone, and what stands in its place.
type mutant struct {
	Name string `json:"name"`
	File string `json:"file"` // below the module's root
	Old  string `json:"old"`
	New  string `json:"new"`
	// Rows are those that are played, and of which one at least must go red.
	Rows []string `json:"rows"`
	// Covered says why no row can notice: what else holds. Then none may go red.
	Covered string `json:"covered,omitempty"`
}

const (
	mutantsFile = "testdata/mutants.yaml"
	mutantsDoc  = "../../../docs/mutants.md"
	root        = "../../.."
	mutantsHead = `# Broken on purpose

Written by ` + "`make mutants`" + `: each of these texts was put in place of the code in turn, and the rows
named for it in pkg/rehearsal/scenario/testdata/mutants.yaml were played. A breakage that no row
notices fails, unless it is said what else holds; then it fails if one does.

| breakage | where | the code | what stood in its place | rows that went red |
|---|---|---|---|---|
`
)

func mutants(t *testing.T) []mutant {
	t.Helper()
	raw, err := os.ReadFile(mutantsFile)
	if err != nil {
		t.Fatal(err)
	}
	var all []mutant
	if err := yaml.UnmarshalStrict(raw, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// The list is of the code as it is, and of rows that there are; and the document is of
// the list.
func TestMutantsFit(t *testing.T) {
	names := map[string]bool{}
	seen := documented(t)
	for _, m := range mutants(t) {
		source, err := os.ReadFile(filepath.Join(root, m.File))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), m.Old); n != 1 {
			t.Errorf("%s: its text stands %d times in %s", m.Name, n, m.File)
		}
		if m.New == m.Old || names[m.Name] || len(m.Rows) == 0 {
			t.Errorf("%s changes nothing, is there twice, or has no rows", m.Name)
		}
		names[m.Name] = true
		switch line := seen[m.Name]; {
		case line == "": // the next make mutants plays it
			t.Errorf("docs/mutants.md does not say yet what notices %q: make mutants ONLY='^%s$'", m.Name, m.Name)
		case !strings.HasPrefix(line, m.head()):
			t.Errorf("docs/mutants.md is of another breakage than %q: make mutants ONLY='^%s$'", m.Name, m.Name)
		}
		for _, name := range m.Rows {
			if !slices.ContainsFunc(table(), func(r row) bool { return r.name == name }) {
				t.Errorf("%s: there is no row %s", m.Name, name)
			}
		}
	}
}

// Every gate and refusal that is broken on purpose makes a row go red. It builds the
// table anew for each, so that it is no part of make test: make mutants asks for it.
// MESHCA_MUTANTS is a pattern of names: what is played in parts adds up in the
// document, which is written after each.
func TestMutants(t *testing.T) {
	if os.Getenv("MESHCA_MUTANTS") == "" {
		t.Skip("make mutants")
	}
	only := regexp.MustCompile(os.Getenv("MESHCA_MUTANTS"))
	var writing sync.Mutex // the document
	for _, m := range mutants(t) {
		if !only.MatchString(m.Name) {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			red, err := m.play(t)
			switch {
			case err != nil:
				t.Fatal(err)
			case len(red) == 0 && m.Covered == "":
				t.Fatalf("no row of %v notices", m.Rows)
			case len(red) > 0 && m.Covered != "":
				t.Fatalf("%v notice, and nothing should", red)
			}
			t.Logf("noticed by %v", red)
			if !update() {
				return
			}
			writing.Lock()
			defer writing.Unlock()
			lines := documented(t)
			lines[m.Name] = m.line(red)
			writeDocument(t, lines)
		})
	}
}

// head is the beginning of a mutant's line. It holds all that is broken, so that what
// was seen of another text is not said of this one.
func (m mutant) head() string {
	return fmt.Sprintf("| %s | %s | %s | %s | ", m.Name, m.File, quoted(m.Old), quoted(m.New))
}

// line is what the document says of a mutant that made those rows go red.
func (m mutant) line(red []string) string {
	seen := strings.Join(red, ", ")
	if m.Covered != "" {
		seen = "none of " + strings.Join(m.Rows, ", ") + ": " + m.Covered
	}
	return m.head() + seen + " |\n"
}

// quoted is a piece of code in a cell of a table.
func quoted(code string) string {
	code = strings.ReplaceAll(strings.Join(strings.Fields(code), " "), "|", "\\|")
	if code == "" {
		return "nothing"
	}
	return "`" + code + "`"
}

// documented are the lines of the document, by the mutant's name.
func documented(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(mutantsDoc)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, " | "); len(cells) == 5 {
			lines[strings.TrimPrefix(cells[0], "| ")] = line
		}
	}
	return lines
}

// writeDocument writes the lines of those that are in the list, in its order.
func writeDocument(t *testing.T, lines map[string]string) {
	t.Helper()
	doc := mutantsHead
	for _, m := range mutants(t) {
		doc += lines[m.Name]
	}
	if err := os.WriteFile(mutantsDoc, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
}

// play builds the table with the mutant in place of the code, plays its rows, and
// says which went red.
func (m mutant) play(t *testing.T) ([]string, error) {
	t.Helper()
	at, err := filepath.Abs(filepath.Join(root, m.File))
	if err != nil {
		return nil, err
	}
	source, err := os.ReadFile(at)
	if err != nil {
		return nil, err
	}
	dir := t.TempDir()
	changed, overlay, binary := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "table.test")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {at: changed}})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), m.Old, m.New, 1)), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-ldflags", "-w", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("it does not build: %w: %s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), binary, "-test.run", "^TestScenario$/^("+strings.Join(m.Rows, "|")+")$", "-test.timeout", "10m").CombinedOutput()
	if err == nil {
		return nil, nil
	}
	var red []string
	for _, match := range regexp.MustCompile(`--- FAIL: TestScenario/(\S+)`).FindAllStringSubmatch(string(out), -1) {
		red = append(red, match[1])
	}
	if len(red) == 0 {
		return nil, fmt.Errorf("the table does not run: %w: %s", err, out[max(0, len(out)-500):])
	}
	slices.Sort(red)
	return red, nil
}
