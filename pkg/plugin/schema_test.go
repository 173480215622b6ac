package plugin

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// What the commands write as JSON is what the schemas say, with no field that
// they do not know.
func TestOutputsFitTheirSchemas(t *testing.T) {
	seen := map[string]bool{}
	valid := func(t *testing.T, kind string, text []byte) {
		t.Helper()
		raw, err := schemaOf(kind, documents()[kind], true)
		if err != nil {
			t.Fatal(err)
		}
		schema, err := validator.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		compiler := validator.NewCompiler()
		compiler.AssertFormat()
		if err := compiler.AddResource("schema.json", schema); err != nil {
			t.Fatal(err)
		}
		compiled, err := compiler.Compile("schema.json")
		if err != nil {
			t.Fatal(err)
		}
		document, err := validator.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s is no JSON: %v\n%s", kind, err, text)
		}
		if is := document.(map[string]any)["kind"]; is != kind {
			t.Errorf("its kind is %v, not %s", is, kind)
		}
		if err := compiled.Validate(document); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		seen[kind] = true
	}

	s, g, err := operate(t, needed(forRotate), rotation.HotBundle)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(g.events.String()) {
		valid(t, "Event", []byte(line))
	}
	folder := t.TempDir()
	snapshot := filepath.Join(folder, "mesh.json")
	file, err := os.Create(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := s.WriteJSON(file); err != nil {
		t.Fatal(err)
	}
	saved, err := os.ReadFile(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	valid(t, mesh.Kind, saved)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	recipient := identity.Recipient().String()
	made := filepath.Join(folder, "ca")
	root, cert, key, chain := filepath.Join(made, "root-cert.pem"), filepath.Join(made, "ca-cert.pem"), filepath.Join(made, "ca-key.pem"), filepath.Join(made, "cert-chain.pem")
	for _, run := range []struct {
		kind string
		args []string
	}{
		{"NewCertificateAuthority", []string{"ca", "new", "--out", made, "--seal-to", recipient, "--no-trial", recipient[len(recipient)-8:], "--sealed-file", filepath.Join(folder, "root.age")}},
		{"CertificateList", []string{"ca", "inspect", root}},
		{"CertificateAuthorityLint", []string{"ca", "lint", "--root", root, "--ca-cert", cert, "--ca-key", key, "--chain", chain}},
		{"ChainVerdict", []string{"ca", "verify", "--roots", root, "--chain", chain}},
		{"CheckReport", []string{"check", "--from-snapshot", snapshot}},
		{"VersionList", []string{"versions", "--from-snapshot", snapshot}},
		{"Verification", []string{"verify", "--from-snapshot", snapshot}},
		{"Plan", []string{"plan", "--from-snapshot", snapshot, "--root", root, "--ca-cert", cert, "--ca-key", key, "--chain", chain}},
		{"Version", []string{"version"}},
	} {
		t.Run(run.kind, func(t *testing.T) {
			var out, errs bytes.Buffer
			Main(append(run.args, "-o", "json"), genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errs})
			if out.Len() == 0 {
				t.Fatalf("it wrote nothing: %s", errs.String())
			}
			valid(t, run.kind, out.Bytes())
		})
	}
	raw := new(bytes.Buffer)
	report := newEnvoyReport(s.Proxies, pki.NewBundle(), s.TakenAt)
	if err := printResult(raw, "json", report); err != nil {
		t.Fatal(err)
	}
	valid(t, "EnvoyList", raw.Bytes())
	var out bytes.Buffer
	Main([]string{"report", "--from-snapshot", snapshot, "-o", "json"}, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: new(bytes.Buffer)})
	valid(t, "RotationReport", out.Bytes())
	for kind := range documents() {
		if !seen[kind] {
			t.Errorf("no %s was written", kind)
		}
	}
}
