package plugin

import (
	"context"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const caNewExample = `  # a root and an intermediate in ./ca; the root's key is sealed, and tried at once
  age-keygen -o key.txt
  kubectl meshca ca new --out ca --seal-to age1... --identity key.txt --sealed-file root-key.age

  # sealed with a passphrase, RSA, names of one's own
  kubectl meshca ca new --out ca --seal-to passphrase --sealed-file root-key.age --key rsa-4096 \
    --subject-root "O=Acme,CN=Acme mesh root G2" --subject-intermediate "O=Acme,CN=Acme mesh G2.1"

  # another intermediate under a root of before
  kubectl meshca ca new --out ca2 --by ca/root-cert.pem --by-key root-key.age --identity key.txt`

type caNewOptions struct {
	sealFlags
	out                string
	name, trustDomain  string
	root, intermediate string
	key                string
	rootLifetime       days
	lifetime           days
	dnsNames           []string
	by, byKey          string
	output             string
	rootFlags          []string // those that were given and are for a new root
}

// newCADefaults is a new CA of which nothing is said.
func newCADefaults() caNewOptions {
	return caNewOptions{name: "mesh", key: string(pki.ECDSAP256), rootLifetime: days(pki.RootLifetime), lifetime: days(pki.IntermediateLifetime)}
}

func newCANewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := newCADefaults()
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a root and an intermediate for a mesh",
		Long: "Makes a root and an intermediate with names of a new generation, and writes\n" +
			"root-cert.pem, ca-cert.pem, cert-chain.pem and ca-key.pem (for its owner alone) into a\n" +
			"folder, as a cacerts Secret has them. The root's key goes into a sealed file and\n" +
			"nowhere else. With --by and --by-key only an intermediate is made, under that root;\n" +
			"under an issuing CA that is no root, 'ca csr' and 'ca accept' make one.\n" +
			"Nothing is ever written over; where anything fails nothing is left.\n\n" +
			"Exit codes: 0 made, 2 not acknowledged, 1 it could not be done, 64 bad usage.",
		Example: caNewExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range []string{"subject-root", "root-lifetime", "seal-to", "sealed-file", "no-trial"} {
				if cmd.Flags().Changed(name) {
					o.rootFlags = append(o.rootFlags, "--"+name)
				}
			}
			return o.run(cmd.Context(), streams)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.out, "out", "", "folder that the files are written into; made if it is missing")
	flags.StringVar(&o.name, "name", o.name, "what both names begin with; the date and a random number follow")
	flags.StringVar(&o.trustDomain, "trust-domain", "", "trust domain of the mesh: becomes the organization of both names")
	flags.StringVar(&o.root, "subject-root", "", `whole name of the root instead, in the order it is encoded, such as "O=Acme,CN=Acme root G2"`)
	flags.StringVar(&o.intermediate, "subject-intermediate", "", "whole name of the intermediate instead")
	flags.StringVar(&o.key, "key", o.key, "kind of the keys: "+strings.Join(keySpecNames(), ", "))
	flags.Var(&o.rootLifetime, "root-lifetime", "how long the root lives")
	flags.Var(&o.lifetime, "lifetime", "how long the intermediate lives; it ends with its root at the latest")
	flags.StringSliceVar(&o.dnsNames, "dns-name", nil, "DNS names of the intermediate (Istio's own samples give istiod.istio-system.svc)")
	o.addSealFlags(cmd, "the root's key")
	o.addTrialFlag(cmd)
	flags.StringVar(&o.by, "by", "", "PEM file of a root of before, to make an intermediate under")
	flags.StringVar(&o.byKey, "by-key", "", "PEM file of its key, in clear or sealed")
	outputFlag(cmd, &o.output)
	completions(cmd, "key", keySpecNames()...)
	return cmd
}

// validateMaking checks what every command asks that makes a key.
func (o *caNewOptions) validateMaking() error {
	if err := validOutput(o.output); err != nil {
		return err
	}
	if _, err := pki.ParseKeySpec(o.key); err != nil {
		return usage(fmt.Errorf("--key: %w", err), "use one of "+strings.Join(keySpecNames(), ", "))
	}
	if o.out == "" {
		return usage(errors.New("--out is missing"), "name the folder that the files are written into")
	}
	return nil
}

func (o *caNewOptions) validate() error {
	if err := o.validateMaking(); err != nil {
		return err
	}
	switch {
	case o.rootLifetime <= 0 || o.lifetime <= 0:
		return usage(errors.New("--root-lifetime and --lifetime must be positive"), "write 3650d or 43800h")
	case (o.by == "") != (o.byKey == ""):
		return usage(errors.New("--by and --by-key belong together"), "--by is the root's certificate, --by-key its key")
	case o.by != "" && len(o.rootFlags) > 0:
		return usage(fmt.Errorf("%s and --by exclude each other", o.rootFlags[0]), "with --by no root is made")
	case o.by != "":
		return nil
	case len(o.sealTo) == 0 || o.sealedFile == "":
		return usage(errors.New("--seal-to and --sealed-file are needed: the root's key must be kept somewhere, and never in clear"),
			"make a recipient with 'age-keygen -o key.txt', or use --seal-to passphrase")
	}
	return o.validateSeal()
}

func (o *caNewOptions) run(ctx context.Context, streams genericiooptions.IOStreams) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	root, intermediate, err := o.names(time.Now())
	if err != nil {
		return err
	}
	if err := o.free(); err != nil {
		return err
	}
	in := &input{stdin: streams.In, told: streams.ErrOut}
	var seal *sealing
	if o.by == "" {
		if seal, err = o.sealing(ctx, in, streams); err != nil {
			return err
		}
		// The sealed file is all that is left of the root's key.
		if err := o.acknowledge(ctx, seal, streams); err != nil {
			return err
		}
	}
	ca, err := o.make(in, root, intermediate, time.Now())
	if err != nil {
		return err
	}
	made := &created{}
	defer func() {
		if err != nil {
			err = failed(errors.Join(err, made.undo()), hintOf(err))
		}
	}()
	report, err := o.write(made, ca, seal)
	if err != nil {
		return err
	}
	if err := printResult(streams.Out, o.output, report); err != nil {
		return err
	}
	warn(streams, pki.LintAuthority(ca.authority, time.Now()))
	return nil
}

func hintOf(err error) string {
	_, hint := codeOf(err)
	return hint
}

// names are those of the new generation: two CAs of one name in a mesh cannot be
// told apart.
func (o *caNewOptions) names(now time.Time) (root, intermediate pkix.Name, err error) {
	var tag [3]byte
	if _, err := rand.Read(tag[:]); err != nil {
		return root, intermediate, failed(fmt.Errorf("drawing a name: %w", err), "")
	}
	organization := "Istio"
	if o.trustDomain != "" {
		organization = o.trustDomain
	}
	name := func(flag, given, role string) (pkix.Name, error) {
		if given == "" {
			return pkix.Name{Organization: []string{organization}, CommonName: strings.TrimSpace(o.name + " " + role + " " + now.UTC().Format(time.DateOnly) + " " + hex.EncodeToString(tag[:]))}, nil
		}
		parsed, err := parseName(given)
		if err != nil {
			return parsed, usage(fmt.Errorf("%s %q: %w", flag, given, err), `write it as "O=Acme,CN=Acme root G2"`)
		}
		return parsed, nil
	}
	if root, err = name("--subject-root", o.root, "root"); err != nil {
		return root, intermediate, err
	}
	intermediate, err = name("--subject-intermediate", o.intermediate, "intermediate")
	return root, intermediate, err
}

// parseName reads a distinguished name as people write it, "O=Acme,CN=root" or
// "/O=Acme/CN=root". A separator within a value has a backslash before it. Each part
// becomes an RDN of its own, in the order given, as "openssl req -subj" has it; the
// fields of a pkix.Name would make one RDN of several OUs, in an order of their own
// (crypto/x509/pkix, ToRDNSequence).
func parseName(text string) (pkix.Name, error) {
	var name pkix.Name
	separator := byte(',')
	if rest, ok := strings.CutPrefix(text, "/"); ok {
		separator, text = '/', rest
	}
	common := false
	for _, part := range split(text, separator) {
		key, value, ok := strings.Cut(part, "=")
		value = strings.TrimSpace(value)
		if !ok || value == "" {
			return name, fmt.Errorf("%q is not NAME=VALUE", part)
		}
		key = strings.TrimSpace(key)
		last, ok := attribute(strings.ToUpper(key))
		if !ok {
			return name, fmt.Errorf("unknown attribute %q", key)
		}
		if last == commonName && common {
			return name, errors.New("CN stands in it twice")
		}
		common = common || last == commonName
		name.ExtraNames = append(name.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, last}, Value: value})
	}
	return name, nil
}

const commonName = 3

// attribute is what the OID of an attribute ends with, below id-at, 2.5.4 (RFC 5280
// appendix A.1; the short names are those of RFC 4514 section 3).
func attribute(short string) (last int, ok bool) {
	switch short {
	case "CN":
		return commonName, true
	case "SERIALNUMBER":
		return 5, true
	case "C":
		return 6, true
	case "L":
		return 7, true
	case "ST":
		return 8, true
	case "O":
		return 10, true
	case "OU":
		return 11, true
	}
	return 0, false
}

// split cuts text at the separator; a backslash takes the next byte as it is.
func split(text string, separator byte) []string {
	parts, part := []string{}, []byte{}
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i++
			part = append(part, text[i])
		case text[i] == separator:
			parts, part = append(parts, string(part)), part[:0]
		default:
			part = append(part, text[i])
		}
	}
	return append(parts, string(part))
}

// caFiles are the names of the files in the folder.
func caFiles() []string {
	return []string{pki.RootFile, pki.CertFile, pki.ChainFile, pki.KeyFile}
}

// free refuses early what create-only writing would refuse late.
func (o *caNewOptions) free() error {
	paths := []string{}
	for _, name := range caFiles() {
		paths = append(paths, filepath.Join(o.out, name))
	}
	if o.sealedFile != "" {
		if slices.Contains(paths, filepath.Clean(o.sealedFile)) {
			return usage(fmt.Errorf("--sealed-file %s is a file of --out", o.sealedFile), "name another")
		}
		paths = append(paths, o.sealedFile)
	}
	for _, path := range paths {
		if exists(path) {
			return failed(fmt.Errorf("%s is there already", path), "name another folder or file: nothing is written over")
		}
	}
	return nil
}

// make makes the CA, and judges it before anything is written.
func (o *caNewOptions) make(in *input, root, intermediate pkix.Name, now time.Time) (newCA, error) {
	spec, err := pki.ParseKeySpec(o.key)
	if err != nil {
		return newCA{}, usage(fmt.Errorf("--key: %w", err), "use one of "+strings.Join(keySpecNames(), ", "))
	}
	var ca newCA
	issuer := &pki.Authority{}
	if o.by != "" {
		if issuer.Cert, err = in.single("--by", o.by); err != nil {
			return ca, err
		}
		// It becomes root-cert.pem: an intermediate there would be trusted as a root.
		if by := issuer.Cert; by.X509 != nil && !pki.Describe(by, now).SelfSigned {
			return ca, failed(fmt.Errorf("--by %s: %s is no self-signed root", o.by, by.Subject()), "have the intermediate signed for a request: 'kubectl meshca ca csr', and 'kubectl meshca ca accept' with --chain and --root for what stands above it")
		}
		if issuer.Key, err = in.key("--by-key", o.byKey, o.opener); err != nil {
			return ca, err
		}
		issuer.Roots = pki.NewBundle(issuer.Cert)
	} else if issuer, err = pki.NewRoot(pki.Request{Subject: root, Key: spec, Now: now, Lifetime: time.Duration(o.rootLifetime), PathLen: -1}); err != nil {
		return ca, failed(err, "")
	} else {
		ca.root = issuer
	}
	ca.authority, err = issuer.NewIntermediate(pki.Request{Subject: intermediate, Key: spec, Now: now, Lifetime: time.Duration(o.lifetime), PathLen: 0, DNSNames: o.dnsNames})
	if err != nil {
		return ca, failed(err, "'kubectl meshca ca inspect' shows what the issuer may do, and which certificate a key belongs to")
	}
	for _, f := range pki.LintAuthority(ca.authority, now) {
		if f.Severity == pki.SeverityError {
			return ca, failed(fmt.Errorf("what was made is not sound: %s: %s", f.Subject, f.Message), f.Hint)
		}
	}
	return ca, nil
}

// write writes the sealed key before the rest: without it the CA is not to be.
func (o *caNewOptions) write(made *created, ca newCA, seal *sealing) (*caNewReport, error) {
	files, err := ca.authority.Files()
	if err != nil {
		return nil, failed(err, "")
	}
	report := &caNewReport{APIVersion: mesh.APIVersion, Kind: "NewCertificateAuthority", Items: []caNewItem{}}
	now := time.Now()
	if err := made.folder(o.out); err != nil {
		return nil, failed(fmt.Errorf("writing --out: %w", err), "")
	}
	if ca.root != nil {
		key, err := ca.root.KeyPEM()
		if err != nil {
			return nil, failed(err, "")
		}
		if err := pki.WriteSealed(seal.file, key, seal.recipients, seal.trial); err != nil {
			return nil, failed(err, "")
		}
		made.files = append(made.files, seal.file)
	}
	for _, f := range []struct {
		file pki.File
		role string
		cert *pki.Certificate
		mode os.FileMode
	}{
		{files.CAKey, "key of the intermediate", nil, 0o600},
		{files.Root, "root", ca.authority.Roots.Certs[0], 0o644},
		{files.CACert, "intermediate", ca.authority.Cert, 0o644},
		{files.Chain, "chain", nil, 0o644},
	} {
		path := filepath.Join(o.out, f.file.Name)
		if err := made.file(path, f.file.Data, f.mode); err != nil {
			return nil, failed(fmt.Errorf("writing %s: %w", path, err), "")
		}
		item := caNewItem{File: path, Role: f.role}
		if f.cert != nil {
			d := pki.Describe(f.cert, now)
			item.Certificate = &d
		}
		report.Items = append(report.Items, item)
	}
	if ca.root != nil {
		report.Items = append(report.Items, caNewItem{File: seal.file, Role: "key of the root, sealed"})
	}
	return report, nil
}

// caNewReport is the result of "ca new".
type caNewReport struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Items      []caNewItem `json:"items"`
}

type caNewItem struct {
	File        string           `json:"file"`
	Role        string           `json:"role"`
	Certificate *pki.Description `json:"certificate,omitempty"`
}

func (r *caNewReport) rows(wide bool) [][]string {
	rows := [][]string{{"FILE", "WHAT", "SUBJECT", "KEY", "UNTIL"}}
	if wide {
		rows[0] = append(rows[0], "SHA-256")
	}
	for _, item := range r.Items {
		row := []string{item.File, item.Role, "", "", ""}
		if c := item.Certificate; c != nil {
			row = []string{item.File, item.Role, c.Subject, c.Key, stamp(c.NotAfter)}
		}
		if wide {
			fingerprint := ""
			if item.Certificate != nil {
				fingerprint = item.Certificate.Fingerprint.String()
			}
			row = append(row, fingerprint)
		}
		rows = append(rows, row)
	}
	return rows
}

func (r *caNewReport) names() []string {
	var all []string
	for _, item := range r.Items {
		all = append(all, item.File)
	}
	return all
}
