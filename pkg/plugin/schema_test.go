package plugin

import (
	"bytes"
	"context"
	"go/ast"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
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
	nothing := filepath.Join(folder, "nothing.json")
	if err := os.WriteFile(nothing, []byte(`{"apiVersion":"meshca.io/v1alpha1","kind":"Snapshot","takenAt":"2026-11-01T00:00:00Z"}`), 0o600); err != nil {
		t.Fatal(err)
	}
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
		{"Plan", []string{"plan", "--from-snapshot", nothing, "--root", root, "--ca-cert", cert, "--ca-key", key, "--chain", chain}},
		{"Version", []string{"version"}},
		{"CertificateInventory", []string{"certs", "--from-snapshot", snapshot}},
		{"CertificateRequest", []string{"ca", "csr", "--out", filepath.Join(folder, "request")}},
		{"ScenarioList", []string{"demo", "--list"}},
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
	identityFile, copied := filepath.Join(folder, "key.txt"), filepath.Join(folder, "copy.age")
	if err := os.WriteFile(identityFile, []byte(identity.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) { // what is told of a rotation that stands
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		_, old := testCA(t, "A")
		root, next := testCA(t, "B")
		key, err := next.KeyPEM()
		if err != nil {
			t.Fatal(err)
		}
		material := []string{"--yes", "-o", "json"}
		for flag, text := range map[string][]byte{"--root": root.Cert.PEM(), "--ca-cert": next.Cert.PEM(), "--ca-key": key} {
			file := filepath.Join(folder, flag+".pem")
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			material = append(material, flag, file)
		}
		m, err := rehearsal.New(ctx, tick{}, rehearsal.Spec{CA: old, MultiRoot: true, XDSAgent: true, Release: "1.30.3", Replicas: 1, Namespaces: []string{"a"}, Proxies: 1, TTL: 24 * time.Hour, Lag: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		g := newGatekeeper(m, needed(forRotate))
		run := func(args ...string) []byte {
			var out, errs bytes.Buffer
			Rehearse(ctx, g.kube, g.dynamic, m, args, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errs})
			if out.Len() == 0 {
				t.Fatalf("%s wrote nothing: %s", args[0], &errs)
			}
			return out.Bytes()
		}
		valid(t, "BackupReport", run("backup", "--seal-to", recipient, "--identity", identityFile, "--sealed-file", copied, "-o", "json"))
		valid(t, "Rehearsal", run(slices.Concat([]string{"rehearse"}, material[1:])...))
		run(slices.Concat([]string{"rotate", "--until", "trust-new"}, material)...)
		standing := run("status", "-o", "json")
		if !bytes.Contains(standing, []byte(`"unfinished"`)) {
			t.Errorf("no rotation stands: %s", standing)
		}
		valid(t, "RotationStatus", standing)
		valid(t, "RotationList", run("status", "--all", "-o", "json"))
		valid(t, "RestoreReport", run("restore", "-f", copied, "--identity", identityFile, "--dry-run=client", "-o", "json"))
	})
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

// Whatever stands beside the API version is a document, and has a schema.
func TestKindsHaveSchemas(t *testing.T) {
	kinds := 0
	inspect(t, ".", func(n ast.Node) {
		literal, ok := n.(*ast.CompositeLit)
		if !ok {
			return
		}
		ours, kind := false, ""
		for _, e := range literal.Elts {
			pair, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			switch key, _ := pair.Key.(*ast.Ident); {
			case key == nil:
			case key.Name == "APIVersion":
				of, ok := pair.Value.(*ast.SelectorExpr)
				ours = ok && of.Sel.Name == "APIVersion" || textOf(pair.Value) == mesh.APIVersion
			case key.Name == "Kind":
				kind = textOf(pair.Value)
			}
		}
		if !ours {
			return
		}
		kinds++
		if documents()[kind] == nil {
			t.Errorf("the kind %q has no schema", kind)
		}
	})
	if kinds < 20 {
		t.Errorf("%d kinds were found", kinds)
	}
}
