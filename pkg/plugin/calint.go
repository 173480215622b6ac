package plugin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	text "github.com/meshca/kubectl-meshca/internal/plain"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const caLintExample = `  # the four files of a CA
  kubectl meshca ca lint --root root-cert.pem --ca-cert ca-cert.pem --ca-key ca-key.pem --chain cert-chain.pem

  # a folder that has them under these names, beside the CA that the mesh has now
  kubectl meshca ca lint new-ca --old-root old/root-cert.pem --old-ca-cert old/ca-cert.pem

  # what will be found in half a year? exit code 2 on warnings too
  kubectl meshca ca lint new-ca --at 2027-06-01 --fail-on warning`

type caLintOptions struct {
	root, cert, key, chain    string
	oldRoot, oldCert, oldMore string
	at                        moment
	failOn                    string
	output                    string
}

func newCALintCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var o caLintOptions
	cmd := &cobra.Command{
		Use:   "lint [FOLDER]",
		Short: "Check the files of a CA, alone and beside the CA it replaces",
		Long: "Checks the four files of a CA as bytes, as certificates and as istiod, agents and\n" +
			"proxies will use them, and together with the CA that it is to replace. Every finding\n" +
			"has a stable ID and says what to do.\n\n" +
			"Exit codes: 0 nothing found, 2 findings of the severity of --fail-on, 1 a file could\n" +
			"not be read, 64 bad usage.",
		Example: caLintExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage(fmt.Errorf("unexpected argument %q", args[1]), "name one folder, or the files with --root, --ca-cert, --ca-key and --chain")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return o.run(args, streams) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.root, "root", "", "PEM file of the root bundle (root-cert.pem)")
	flags.StringVar(&o.cert, "ca-cert", "", "PEM file of the certificate that signs (ca-cert.pem)")
	flags.StringVar(&o.key, "ca-key", "", "PEM file of its key (ca-key.pem)")
	flags.StringVar(&o.chain, "chain", "", "PEM file of what stands between it and the root (cert-chain.pem; may be left out)")
	flags.StringVar(&o.oldRoot, "old-root", "", "PEM file of the root bundle that the mesh has now")
	flags.StringVar(&o.oldCert, "old-ca-cert", "", "PEM file of the certificate that signs now (default: the first of --old-root)")
	flags.StringVar(&o.oldMore, "old-chain", "", "PEM file of its chain")
	flags.Var(&o.at, "at", "judge as of this time (default now)")
	flags.StringVar(&o.failOn, "fail-on", "error", "lowest severity that makes exit code 2: error or warning")
	outputFlag(cmd, &o.output)
	completions(cmd, "fail-on", "error", "warning")
	return cmd
}

func (o *caLintOptions) validate(args []string) error {
	if err := validOutput(o.output); err != nil {
		return err
	}
	if o.failOn != "error" && o.failOn != "warning" {
		return usage(fmt.Errorf("--fail-on %q", o.failOn), "use error or warning")
	}
	if (o.oldCert != "" || o.oldMore != "") && o.oldRoot == "" {
		return usage(errors.New("half an old CA: --old-root is missing"), "give --old-root, the bundle that the mesh trusts now")
	}
	if len(args) == 1 {
		if o.root != "" || o.cert != "" || o.key != "" || o.chain != "" {
			return usage(fmt.Errorf("the folder %s and files of a CA exclude each other", args[0]), "give one or the other")
		}
		if info, err := os.Stat(args[0]); err != nil {
			return failed(fmt.Errorf("reading the folder: %w", err), "")
		} else if !info.IsDir() {
			return usage(fmt.Errorf("%s is not a folder", args[0]), "name the files with --root, --ca-cert, --ca-key and --chain")
		}
		o.root, o.cert, o.key = filepath.Join(args[0], pki.RootFile), filepath.Join(args[0], pki.CertFile), filepath.Join(args[0], pki.KeyFile)
		if chain := filepath.Join(args[0], pki.ChainFile); exists(chain) {
			o.chain = chain
		}
		return nil
	}
	var missing []string
	for _, f := range [][2]string{{"--root", o.root}, {"--ca-cert", o.cert}, {"--ca-key", o.key}} {
		if f[1] == "" {
			missing = append(missing, f[0])
		}
	}
	if len(missing) > 0 {
		return usage(fmt.Errorf("half a CA: %s is missing", strings.Join(missing, ", ")), "give --root, --ca-cert, --ca-key and --chain, or a folder that has them")
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (o *caLintOptions) run(args []string, streams genericiooptions.IOStreams) error {
	if err := o.validate(args); err != nil {
		return err
	}
	in := &input{stdin: streams.In}
	var files, old pki.Files
	for _, f := range []struct {
		flag, name string
		into       *pki.File
	}{
		{"--root", o.root, &files.Root}, {"--ca-cert", o.cert, &files.CACert}, {"--ca-key", o.key, &files.CAKey}, {"--chain", o.chain, &files.Chain},
		{"--old-root", o.oldRoot, &old.Root}, {"--old-ca-cert", o.oldCert, &old.CACert}, {"--old-chain", o.oldMore, &old.Chain},
	} {
		if f.name == "" {
			continue
		}
		raw, err := in.read(f.flag, f.name)
		if err != nil {
			return err
		}
		*f.into = pki.File{Name: f.name, Data: raw, Mode: modeOf(f.name)}
	}
	report, err := newCALintReport(files, old, o.at.orNow())
	if err != nil {
		return err
	}
	return errors.Join(printResult(streams.Out, o.output, report), report.failure(pki.Severity(o.failOn)))
}

// newCALintReport judges the files; it is pure.
func newCALintReport(files, old pki.Files, at time.Time) (*caLintReport, error) {
	findings := pki.LintFiles(files)
	ca, err := pki.ParsePublic(files)
	if err == nil {
		// A key that cannot be read is a finding of its files already.
		if key, err := pki.ParseKey(files.CAKey.Data); err == nil {
			ca.Key = key
		}
		findings = append(findings, pki.LintAuthority(ca, at)...)
	} else if !slices.ContainsFunc(findings, func(f pki.Finding) bool { return f.Severity == pki.SeverityError }) {
		return nil, failed(err, "")
	}
	if len(old.Root.Name) > 0 {
		if old.CACert.Name == "" {
			old.CACert = old.Root
		}
		before, err := pki.ParsePublic(old)
		if err != nil {
			return nil, failed(fmt.Errorf("reading the old CA: %w", err), "'kubectl meshca ca inspect' shows what is in its files")
		}
		if ca != nil {
			findings = append(findings, pki.LintPair(before, ca, at)...)
		}
	}
	rank := func(f pki.Finding) int {
		return slices.Index([]pki.Severity{pki.SeverityError, pki.SeverityWarning, pki.SeverityInfo}, f.Severity)
	}
	slices.SortStableFunc(findings, func(a, b pki.Finding) int { return rank(a) - rank(b) })
	r := &caLintReport{APIVersion: mesh.APIVersion, Kind: "CertificateAuthorityLint", At: at, Items: findings}
	for _, f := range findings {
		switch f.Severity {
		case pki.SeverityError:
			r.Errors++
		case pki.SeverityWarning:
			r.Warnings++
		}
	}
	return r, nil
}

// caLintReport is the result of "ca lint".
type caLintReport struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	At         time.Time     `json:"at"`
	Errors     int           `json:"errors"`
	Warnings   int           `json:"warnings"`
	Items      []pki.Finding `json:"items"`
}

func (r *caLintReport) failure(level pki.Severity) error {
	if r.Errors == 0 && (level != pki.SeverityWarning || r.Warnings == 0) {
		return nil
	}
	return found(fmt.Errorf("%s, %s", counted(r.Errors, "error"), counted(r.Warnings, "warning")), "each finding names what to do")
}

func (r *caLintReport) rows(wide bool) [][]string {
	rows := [][]string{{"SEVERITY", "ID", "FINDING"}}
	for _, f := range r.Items {
		if f.Severity == pki.SeverityInfo && !wide {
			continue
		}
		rows = append(rows, []string{string(f.Severity), f.ID, f.Subject + ": " + f.Message}, []string{"", "hint: " + f.Hint})
	}
	if len(rows) == 1 {
		rows = nil
	}
	return append(rows, []string{fmt.Sprintf("verdict: %s (clock: %s)", r.verdict(), stamp(r.At))})
}

func counted(n int, what string) string { return text.Count(n, what) }

func (r *caLintReport) verdict() string {
	switch {
	case r.Errors > 0:
		return fmt.Sprintf("not sound: %s, %s", counted(r.Errors, "error"), counted(r.Warnings, "warning"))
	case r.Warnings > 0:
		return "sound, with " + counted(r.Warnings, "warning")
	}
	return "sound"
}

func (r *caLintReport) names() []string {
	var all []string
	for _, f := range r.Items {
		all = append(all, f.ID+"/"+f.Subject)
	}
	return all
}
