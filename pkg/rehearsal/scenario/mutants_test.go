package scenario_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
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

// The list is of the code as it is, and of rows that there are.
func TestMutantsFit(t *testing.T) {
	names := map[string]bool{}
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
		for _, name := range m.Rows {
			if !slices.ContainsFunc(table(), func(r row) bool { return r.name == name }) {
				t.Errorf("%s: there is no row %s", m.Name, name)
			}
		}
	}
}

// Every gate and refusal that is broken on purpose makes a row go red. It builds the
// table anew for each, so that it is no part of make test: make mutants asks for it.
func TestMutants(t *testing.T) {
	if os.Getenv("MESHCA_MUTANTS") == "" {
		t.Skip("make mutants")
	}
	only := regexp.MustCompile(os.Getenv("MESHCA_MUTANTS"))
	doc := "# Broken on purpose\n\nWritten by `make mutants`: each of these lines was broken in turn and the rows named for it were played. A breakage that no row notices fails, unless\nit is said what else holds; then it fails if one does.\n\n| breakage | where | rows that went red |\n|---|---|---|\n"
	all := mutants(t)
	for _, m := range all {
		if !only.MatchString(m.Name) {
			continue
		}
		red, err := m.play(t)
		switch {
		case err != nil:
			t.Errorf("%s: %v", m.Name, err)
		case len(red) == 0 && m.Covered == "":
			t.Errorf("%s: no row of %v notices", m.Name, m.Rows)
		case len(red) > 0 && m.Covered != "":
			t.Errorf("%s: %v notice, and nothing should", m.Name, red)
		}
		seen := strings.Join(red, ", ")
		if m.Covered != "" {
			seen = "none: " + m.Covered
		}
		t.Logf("%s: %s", m.Name, seen)
		doc += fmt.Sprintf("| %s | %s | %s |\n", m.Name, m.File, seen)
	}
	if f := flag.Lookup("update"); !t.Failed() && f.Value.String() == "true" && only.String() == "." {
		if err := os.WriteFile(mutantsDoc, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
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
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("it does not build: %w: %s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), binary, "-test.run", "^TestScenario$/^("+strings.Join(m.Rows, "|")+")$", "-test.timeout", "5m").CombinedOutput()
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
