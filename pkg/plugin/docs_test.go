package plugin

import (
	"bytes"
	"encoding"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/invopop/jsonschema"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/report"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

var update = flag.Bool("update", false, "write the generated documentation")

const docsFolder = "../../docs"

// The documentation that comes from the code is what the code says: "make docs"
// writes it.
func TestDocs(t *testing.T) {
	want := map[string][]byte{}
	reference(t, want)
	schemas(t, want)
	want["exit-codes.md"] = exitCodesPage(t)
	want["events.md"] = eventsPage(t)
	want["permissions.md"] = permissionsPage()
	want["hints.md"] = hintsPage(t)
	if *update {
		for _, folder := range []string{"reference", "man", "schema"} {
			if err := os.RemoveAll(filepath.Join(docsFolder, folder)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, text := range want {
		path := filepath.Join(docsFolder, name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, text) {
			t.Errorf("docs/%s is not what the code says: run 'make docs' (%v)", name, err)
		}
	}
	for _, folder := range []string{"reference", "man", "schema"} {
		entries, err := os.ReadDir(filepath.Join(docsFolder, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if name := folder + "/" + e.Name(); want[name] == nil {
				t.Errorf("docs/%s is of nothing that is there: run 'make docs'", name)
			}
		}
	}
}

// reference is a page and a man page for each command.
func reference(t *testing.T, into map[string][]byte) {
	t.Helper()
	root := NewRoot(genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard})
	root.DisableAutoGenTag = true
	root.InitDefaultHelpCmd()
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if !cmd.IsAvailableCommand() && cmd != root || cmd.Name() == "help" {
			return
		}
		cmd.DisableAutoGenTag = true
		var page, man bytes.Buffer
		if err := doc.GenMarkdown(cmd, &page); err != nil {
			t.Fatal(err)
		}
		date := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC) // the pages do not change with the day
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
		if err := doc.GenMan(cmd, &doc.GenManHeader{Title: strings.ToUpper(name), Section: "1", Date: &date, Source: "kubectl-meshca", Manual: "kubectl meshca"}, &man); err != nil {
			t.Fatal(err)
		}
		into["reference/"+strings.ReplaceAll(cmd.CommandPath(), " ", "_")+".md"] = page.Bytes()
		into["man/"+name+".1"] = man.Bytes()
		for _, child := range cmd.Commands() {
			walk(child)
		}
	}
	walk(root)
}

// documents are all that a command writes as JSON, by kind.
func documents() map[string]any {
	return map[string]any{
		mesh.Kind: &snapshotDocument{}, "CheckReport": &checkReport{}, "VersionList": &versionReport{}, "Plan": &planReport{}, "Event": &eventLine{},
		"Verification": &verifyReport{}, "EnvoyList": &envoyReport{}, "Version": &versionInfo{}, "CertificateList": &caInspectReport{},
		"CertificateAuthorityLint": &caLintReport{}, "NewCertificateAuthority": &caNewReport{}, "ChainVerdict": &caVerifyReport{},
		"RotationReport": &report.Report{}, "RotationStatus": &statusReport{}, "RotationList": &historyReport{}, "CertificateInventory": &certsReport{},
		"Rehearsal": &rehearsed{}, "BackupReport": &backupReport{}, "RestoreReport": &restoreReport{}, "CertificateRequest": &caNewReport{}, "ScenarioList": &scenarioList{},
	}
}

// snapshotDocument is a Snapshot as mesh.WriteJSON lays it out.
type snapshotDocument struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Certificates are DER by fingerprint; the rest refers to them.
	Certificates map[string][]byte `json:"certificates"`
	*mesh.Snapshot
}

// schemaOf is the schema of a document. A reader must bear fields that are new; a
// test of what is written does not.
func schemaOf(kind string, document any, strict bool) ([]byte, error) {
	reflector := jsonschema.Reflector{Anonymous: true, AllowAdditionalProperties: !strict}
	reflector.Mapper = func(of reflect.Type) *jsonschema.Schema {
		text := reflect.TypeFor[encoding.TextMarshaler]()
		if of != reflect.TypeFor[time.Time]() && (of.Implements(text) || reflect.PointerTo(of).Implements(text)) {
			return &jsonschema.Schema{Type: "string"}
		}
		return nil
	}
	s := reflector.Reflect(document)
	s.Title = kind
	raw, err := json.MarshalIndent(s, "", "  ")
	return append(raw, '\n'), err
}

func schemas(t *testing.T, into map[string][]byte) {
	t.Helper()
	for kind, document := range documents() {
		raw, err := schemaOf(kind, document, false)
		if err != nil {
			t.Fatal(err)
		}
		into["schema/"+kind+".json"] = raw
	}
}

const generated = "<!-- Written by `make docs` from the code. -->\n"

func exitCodesPage(t *testing.T) []byte {
	var b strings.Builder
	b.WriteString(generated + "# Exit codes\n\nScripts may rely on them.\n\n| code | means |\n|---|---|\n| 0 | done, or nothing found |\n")
	for _, c := range constants(t, "exit.go", "Exit") {
		if c.value != "0" {
			fmt.Fprintf(&b, "| %s | %s |\n", c.value, cell(c.about))
		}
	}
	b.WriteString("\nThe page of a command in [reference](reference/kubectl_meshca.md) says what its own mean, where it has others than 0, 1 and 64.\n")
	return []byte(b.String())
}

func eventsPage(t *testing.T) []byte {
	var b strings.Builder
	b.WriteString(generated + "# Events\n\n`rotate -o json` writes one Event a line ([schema](schema/Event.json)); every other view of a rotation is made of the same Events. None carries a key.\n\n| event | tells |\n|---|---|\n")
	for _, c := range constants(t, "../rotation/event.go", "Event") {
		fmt.Fprintf(&b, "| `%s` | %s |\n", c.value, cell(c.about))
	}
	b.WriteString("\n| strategy, reason or phase | is |\n|---|---|\n")
	for _, c := range constants(t, "../rotation/phase.go", "") {
		if c.about != "" {
			fmt.Fprintf(&b, "| `%s` | %s |\n", c.value, cell(c.about))
		}
	}
	return []byte(b.String())
}

func permissionsPage() []byte {
	var b strings.Builder
	b.WriteString(generated + "# Permissions\n\n`kubectl meshca rbac [--for read|rotate]` prints them as the least roles. A test holds this table against what a rehearsed\nrotation really asks. `ca`, `completion`, `version` and all that takes `--from-snapshot` ask nothing of a cluster.\n")
	for _, p := range purposes() {
		fmt.Fprintf(&b, "\n## %s\n\n| verbs | resource | where | what for | without it |\n|---|---|---|---|---|\n", p)
		for _, n := range permissions() {
			if n.purpose != p {
				continue
			}
			resource := n.resource
			if n.group != "" {
				resource += "." + n.group
			}
			if len(n.names) > 0 {
				resource += " (" + strings.Join(n.names, ", ") + ")"
			}
			without := n.without
			switch {
			case without != "":
			case p == forRead:
				without = "said as unknown, and no verdict passes that rests on it"
			default:
				without = "the rotation stops, and says which is missing"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", strings.Join(n.verbs, ", "), resource, n.scope, cell(n.why), cell(without))
		}
	}
	b.WriteString("\n## Of some meshes\n\n| what | verbs | resource | where | what for |\n|---|---|---|---|---|\n")
	for _, m := range []struct {
		flag string
		permission
	}{{"--citadel", ofCitadel()}, {"--issuer-secret", ofIssuer("NAMESPACE", "NAME")}} {
		fmt.Fprintf(&b, "| `rbac %s` | %s | %s | %s | %s |\n", m.flag, strings.Join(m.verbs, ", "), strings.TrimSuffix(m.resource+" ("+strings.Join(m.names, ", ")+")", " ()"), m.scope, cell(m.why))
	}
	return []byte(b.String())
}

// cell is a text that may stand in a table.
func cell(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	for _, of := range slices.Sorted(maps.Keys(escapes())) {
		s = strings.ReplaceAll(s, of, escapes()[of])
	}
	return s
}

func escapes() map[string]string { return map[string]string{"|": "\\|", "<": "&lt;"} }
