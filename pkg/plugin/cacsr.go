package plugin

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const caCSRExample = `  # a key and a request for an intermediate; the key is for its owner alone
  kubectl meshca ca csr --out ca --trust-domain cluster.local

  # the same with the key sealed
  kubectl meshca ca csr --out ca --seal-to age1... --identity key.txt --sealed-file ca-key.age

  # what came back becomes a CA: key, chain and root are held against each other
  kubectl meshca ca accept --ca-key ca/ca-key.pem --ca-cert signed.pem --root root.pem --out new-ca`

// requestFile is the request's name in the folder of "ca csr".
const requestFile = "ca.csr"

// caCSROptions are those of "ca new" that a request has.
type caCSROptions struct{ caNewOptions }

func newCACSRCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := caCSROptions{newCADefaults()}
	cmd := &cobra.Command{
		Use:   "csr",
		Short: "Make a key and a certificate request for an intermediate signed elsewhere",
		Long: "Makes the key of an intermediate and a request for its certificate (ca.csr). The key is\n" +
			"written for its owner alone (ca-key.pem), or sealed; the root's key never comes here.\n" +
			"'kubectl meshca ca accept' takes the signed certificate in. Nothing is written over;\n" +
			"where anything fails nothing is left.\n\n" +
			"Exit codes: 0 made, 1 it could not be done, 64 bad usage.",
		Example: caCSRExample,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), streams) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.out, "out", "", "folder that the files are written into; made if it is missing")
	flags.StringVar(&o.name, "name", o.name, "what the name begins with; the date and a random number follow")
	flags.StringVar(&o.trustDomain, "trust-domain", "", "trust domain of the mesh: becomes the organization")
	flags.StringVar(&o.intermediate, "subject-intermediate", "", `whole name instead, such as "O=Acme,CN=Acme mesh G2.1"`)
	flags.StringVar(&o.key, "key", o.key, "kind of the key: "+strings.Join(keySpecNames(), ", "))
	flags.StringSliceVar(&o.dnsNames, "dns-name", nil, "DNS names of the intermediate")
	o.addSealFlags(cmd, "the key")
	outputFlag(cmd, &o.output)
	completions(cmd, "key", keySpecNames()...)
	return cmd
}

func (o *caCSROptions) validate() error {
	if err := o.validateMaking(); err != nil {
		return err
	}
	switch {
	case (len(o.sealTo) == 0) != (o.sealedFile == ""):
		return usage(errors.New("--seal-to and --sealed-file belong together"), "with neither the key is written for its owner alone")
	case (o.passphraseFile != "" || o.identity != "") && len(o.sealTo) == 0:
		return usage(errors.New("--identity and --passphrase-file are for --seal-to"), "they open what is sealed: leave them out, or give --seal-to and --sealed-file")
	}
	return o.validateSeal()
}

func (o *caCSROptions) run(ctx context.Context, streams genericiooptions.IOStreams) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	_, name, err := o.names(time.Now())
	if err != nil {
		return err
	}
	var seal *sealing
	if len(o.sealTo) > 0 {
		if seal, err = o.sealing(ctx, &input{stdin: streams.In, told: streams.ErrOut}, streams); err != nil {
			return err
		}
	}
	key, request, err := pki.NewRequest(pki.Request{Subject: name, Key: pki.KeySpec(o.key), Now: time.Now(), PathLen: 0, DNSNames: o.dnsNames})
	if err != nil {
		return failed(err, "")
	}
	text, err := pki.MarshalKey(key)
	if err != nil {
		return failed(err, "")
	}
	made := &created{}
	defer func() {
		if err != nil {
			err = failed(errors.Join(err, made.undo()), hintOf(err))
		}
	}()
	if err := made.folder(o.out); err != nil {
		return failed(fmt.Errorf("writing --out: %w", err), "")
	}
	report := &caNewReport{APIVersion: mesh.APIVersion, Kind: "CertificateRequest"}
	if seal != nil {
		if err := pki.WriteSealed(seal.file, text, seal.recipients, seal.trial); err != nil {
			return failed(err, "")
		}
		made.files = append(made.files, seal.file)
		report.Items = append(report.Items, caNewItem{File: seal.file, Role: "key of the intermediate, sealed"})
	} else {
		path := filepath.Join(o.out, pki.KeyFile)
		if err := made.file(path, text, 0o600); err != nil {
			return failed(fmt.Errorf("writing %s: %w", path, err), "name another folder: nothing is written over")
		}
		report.Items = append(report.Items, caNewItem{File: path, Role: "key of the intermediate"})
	}
	path := filepath.Join(o.out, requestFile)
	if err := made.file(path, request, 0o644); err != nil {
		return failed(fmt.Errorf("writing %s: %w", path, err), "name another folder: nothing is written over")
	}
	report.Items = append(report.Items, caNewItem{File: path, Role: "request for " + name.String()})
	return printResult(streams.Out, o.output, report)
}
