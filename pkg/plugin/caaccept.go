package plugin

import (
	"errors"
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// caAcceptOptions name the parts of a CA whose certificate was signed elsewhere.
type caAcceptOptions struct {
	caNewOptions
	cert, chain, rootFile, keyFile string
}

func newCAAcceptCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var o caAcceptOptions
	cmd := &cobra.Command{
		Use:   "accept",
		Short: "Take in the certificate that was signed for a request of 'ca csr'",
		Long: "Holds the signed certificate against the key that its request was made with, and the\n" +
			"chain against the root, by the rules of istiod, agents and proxies, and writes the four\n" +
			"files of a CA. The signed file may hold the chain too, in any order of its rest; so may\n" +
			"that of the root. Roots are written as plain PEM, whatever else was in their file. What\n" +
			"is not sound is refused, and nothing is written.\n\n" +
			"Exit codes: 0 written, 2 it is not sound, 1 it could not be done, 64 bad usage.",
		Example: caCSRExample,
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return o.run(streams) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.keyFile, "ca-key", "", "file of the key that 'ca csr' wrote, in clear or sealed")
	flags.StringVar(&o.cert, "ca-cert", "", "PEM file of the signed certificate")
	flags.StringVar(&o.chain, "chain", "", "PEM file of what stands between it and the root")
	flags.StringVar(&o.rootFile, "root", "", "PEM file of the root")
	flags.StringVar(&o.out, "out", "", "folder that the files are written into; made if it is missing")
	o.addFlags(flags)
	outputFlag(cmd, &o.output)
	return cmd
}

func (o *caAcceptOptions) run(streams genericiooptions.IOStreams) (err error) {
	if err := validOutput(o.output); err != nil {
		return err
	}
	for _, f := range [][2]string{{"--ca-key", o.keyFile}, {"--ca-cert", o.cert}, {"--root", o.rootFile}, {"--out", o.out}} {
		if f[1] == "" {
			return usage(fmt.Errorf("%s is missing", f[0]), "give --ca-key, --ca-cert, --root and --out")
		}
	}
	if err := o.free(); err != nil {
		return err
	}
	in := &input{stdin: streams.In, told: streams.ErrOut}
	ca, err := o.read(in)
	if err != nil {
		return err
	}
	findings := pki.LintAuthority(ca, time.Now())
	for _, f := range findings {
		if f.Severity == pki.SeverityError {
			return found(fmt.Errorf("%s: %s", f.Subject, f.Message), f.Hint)
		}
	}
	made := &created{}
	defer func() {
		if err != nil {
			err = failed(errors.Join(err, made.undo()), hintOf(err))
		}
	}()
	report, err := o.write(made, newCA{authority: ca}, nil)
	if err != nil {
		return err
	}
	if err := printResult(streams.Out, o.output, report); err != nil {
		return err
	}
	warn(streams, findings)
	return nil
}

// warn tells of what is sound and will hurt later.
func warn(streams genericiooptions.IOStreams, findings []pki.Finding) {
	for _, f := range findings {
		if f.Severity == pki.SeverityWarning {
			fmt.Fprintf(streams.ErrOut, "warning: %s\nhint: %s\n", plain(f.Subject+": "+f.Message), plain(f.Hint))
		}
	}
}

func (o *caAcceptOptions) read(in *input) (*pki.Authority, error) {
	var files pki.Files
	for _, f := range []struct {
		flag, name string
		into       *pki.File
	}{{"--ca-cert", o.cert, &files.CACert}, {"--chain", o.chain, &files.Chain}, {"--root", o.rootFile, &files.Root}} {
		if f.name == "" {
			continue
		}
		raw, err := in.read(f.flag, f.name)
		if err != nil {
			return nil, err
		}
		*f.into = pki.File{Name: f.name, Data: raw}
		if len(raw) == 0 && f.flag == "--chain" {
			continue // there is nothing between
		}
		if _, err := parseBundle(f.flag, f.name, raw); err != nil {
			return nil, err
		}
	}
	ca, err := pki.ParsePublic(files)
	if err != nil {
		return nil, failed(err, "'kubectl meshca ca lint' names what is wrong with a file")
	}
	ca = ca.Rooted()
	// The bytes of a bundle travel to every proxy: whatever came along with the
	// certificates stays behind.
	ca.Roots = pki.NewBundle(ca.Roots.Certs...)
	if ca.Key, err = in.key("--ca-key", o.keyFile, o.opener); err != nil {
		return nil, err
	}
	if !ca.KeyMatches() {
		return nil, found(fmt.Errorf("%s: it was not made for the key %s", o.cert, o.keyFile), "is it the answer to this request, and does the signed certificate stand first in its file?")
	}
	return ca, nil
}
