package plugin

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/internal/prompt"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"
)

const caExample = `  # make a root and an intermediate; the root's key leaves only sealed
  kubectl meshca ca new --out ca --seal-to age1... --identity key.txt --sealed-file root-key.age

  # would istiod, agents and proxies take it, beside the CA of now?
  kubectl meshca ca lint ca --old-root root-cert.pem

  # would Envoy accept this chain under this bundle, and if not, why not?
  kubectl meshca ca verify --roots root-cert.pem --chain chain.pem`

func newCACommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Make, check and look at CA material, without a cluster",
		Long: "Makes a CA, checks its files, judges chains as Envoy, Go and ztunnel would, signs one\n" +
			"root with another, and shows what is in PEM files. No cluster is asked. One file of\n" +
			"each command line may be -, standard input.",
		Example: caExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("unknown command %q", "ca "+args[0]), nearest(cmd, args[0])+"run 'kubectl meshca ca --help'")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCANewCommand(streams), newCALintCommand(streams), newCACSRCommand(streams), newCAAcceptCommand(streams), newCAVerifyCommand(streams), newCACrossSignCommand(streams), newCAInspectCommand(streams))
	return cmd
}

// maxInput bounds a file of certificates: a bundle of thousands of roots is well
// below it.
const maxInput = 16 << 20

// input reads the files that flags name, one of them perhaps from standard input.
type input struct {
	stdin io.Reader
	taken string    // by which flag standard input is read
	told  io.Writer // hears of a key that others may read; nil where nobody is told
}

func (in *input) read(flag, name string) ([]byte, error) {
	if name == "-" {
		if in.taken != "" {
			return nil, usage(fmt.Errorf("%s and %s both read standard input", in.taken, flag), "only one file may be -")
		}
		in.taken = flag
		return readBounded(flag, in.stdin)
	}
	return readFile(flag, name)
}

// readFile reads the file that a flag names.
func readFile(flag, name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, failed(fmt.Errorf("reading %s: %w", flag, err), "")
	}
	defer file.Close()
	return readBounded(flag+" "+name, file)
}

func readBounded(what string, r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	switch {
	case err != nil:
		return nil, failed(fmt.Errorf("reading %s: %w", what, err), "")
	case len(raw) > maxInput:
		return nil, failed(fmt.Errorf("reading %s: it is larger than %d MiB", what, maxInput>>20), "it cannot be a file of certificates")
	}
	return raw, nil
}

// bundle reads a file of certificates.
func (in *input) bundle(flag, name string) (pki.Bundle, error) {
	raw, err := in.read(flag, name)
	if err != nil {
		return pki.Bundle{}, err
	}
	return parseBundle(flag, name, raw)
}

// readRoots reads the file of roots that a flag names.
func readRoots(flag, name string) (pki.Bundle, error) {
	raw, err := readFile(flag, name)
	if err != nil {
		return pki.Bundle{}, err
	}
	return parseBundle(flag, name, raw)
}

func parseBundle(flag, name string, raw []byte) (pki.Bundle, error) {
	bundle, err := pki.ParseBundle(raw)
	if err != nil {
		hint, err := recognized(err, pki.LintCertificates(pki.File{Name: name, Data: raw}))
		return bundle, failed(fmt.Errorf("reading %s %s: %w", flag, name, err), cmp.Or(hint, "the file must hold PEM certificates and nothing else; 'kubectl meshca ca inspect' shows what is in it"))
	}
	return bundle, nil
}

// recognized says what a file is that cannot be read as what it should be, and what to do
// about it: users bring what openssl, Vault, cfssl and others write. The hint is "" where
// nothing is known.
func recognized(err error, findings []pki.Finding) (hint string, _ error) {
	for _, f := range findings {
		if f.Severity != pki.SeverityError || f.ID == "crlf" || f.ID == "not-text" { // these are read all the same
			continue
		}
		if errors.Is(err, pki.ErrEmptyBundle) || errors.Is(err, pki.ErrNoKey) {
			err = fmt.Errorf("%w: %s", err, f.Message)
		}
		return f.Hint, err
	}
	return "", err
}

// single reads a file of one certificate.
func (in *input) single(flag, name string) (*pki.Certificate, error) {
	bundle, err := in.bundle(flag, name)
	if err != nil {
		return nil, err
	}
	if n := len(bundle.Certs); n != 1 {
		return nil, failed(fmt.Errorf("reading %s %s: %d certificates in it, want one", flag, name, n), "leave the one that is meant")
	}
	return bundle.Certs[0], nil
}

// key reads a private key, in clear or sealed with age: as the key alone, as
// "ca new" seals it, or within the copy that "rotate" seals.
func (in *input) key(flag, name string, o opener) (crypto.Signer, error) {
	raw, err := in.read(flag, name)
	if err != nil {
		return nil, err
	}
	if pki.Sealed(raw) {
		identities, err := o.identities(in)
		if err != nil {
			return nil, err
		}
		if len(identities) == 0 {
			return nil, usage(fmt.Errorf("%s %s is sealed", flag, name), "give --identity FILE, or --passphrase-file FILE")
		}
		if raw, err = pki.Unseal(strings.NewReader(string(raw)), identities...); err != nil {
			return nil, failed(fmt.Errorf("opening %s %s: %w", flag, name, err), "is this the identity that it was sealed to?")
		}
		var copied struct {
			Files map[string]string `json:"files"`
		}
		if err := yaml.Unmarshal(raw, &copied); err == nil && copied.Files["new/root-key.pem"] != "" {
			raw = []byte(copied.Files["new/root-key.pem"])
		}
	}
	if !pki.Sealed(raw) {
		warnExposed(in.told, flag, name)
	}
	key, err := pki.ParseKey(raw)
	if errors.Is(err, pki.ErrEncryptedKey) {
		return nil, failed(fmt.Errorf("reading %s %s: %w", flag, name, err), "write it without a passphrase with 'openssl pkey', or seal it with age and give --identity")
	}
	if err != nil {
		hint, err := recognized(err, pki.LintKey(pki.File{Name: name, Data: raw}))
		return nil, failed(fmt.Errorf("reading %s %s: %w", flag, name, err), cmp.Or(hint, "it must hold one RSA or ECDSA key as PEM"))
	}
	return key, nil
}

// modeOf are the permissions of a file, 0 where it has none that count: standard input,
// a pipe such as a shell's <(...), and on Windows.
func modeOf(name string) fs.FileMode {
	info, err := os.Stat(name)
	if err != nil || name == "-" || !info.Mode().IsRegular() || runtime.GOOS == "windows" {
		return 0
	}
	return info.Mode()
}

// warnExposed tells of a key that others may read. It is no refusal: who mounts a Secret
// into a job's pod gets files that all of the pod may read.
func warnExposed(told io.Writer, flag, name string) {
	if f := (pki.File{Mode: modeOf(name)}); told != nil && f.Exposed() {
		fmt.Fprintln(told, plain(fmt.Sprintf("warning: %s %s: others may read it (mode %04o): chmod 600 it, whoever has the key is the CA", flag, name, f.Mode.Perm())))
	}
}

// opener names what opens sealed files.
type opener struct {
	identity, passphraseFile string
}

func (o *opener) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.identity, "identity", "", "file of the age identity that opens the sealed file")
	flags.StringVar(&o.passphraseFile, "passphrase-file", "", "file whose first line is the passphrase of the sealed file")
}

func (o opener) identities(in *input) ([]age.Identity, error) {
	var all []age.Identity
	if o.identity != "" {
		raw, err := in.read("--identity", o.identity)
		if err != nil {
			return nil, err
		}
		if all, err = pki.ParseIdentities(raw); err != nil {
			return nil, failed(fmt.Errorf("reading --identity %s: %w", o.identity, err), "'age-keygen -o FILE' makes one")
		}
	}
	if o.passphraseFile != "" {
		word, err := o.passphrase(in)
		if err != nil {
			return nil, err
		}
		identity, err := pki.PassphraseIdentity(word)
		if err != nil {
			return nil, failed(fmt.Errorf("reading --passphrase-file %s: %w", o.passphraseFile, err), "")
		}
		all = append(all, identity)
	}
	return all, nil
}

func (o opener) passphrase(in *input) (string, error) {
	// A pipe, such as a shell's <(...), has no mode that others could use. What belongs to
	// somebody else, as a mounted Secret does to root, is not this user's to judge, nor to
	// mend: OpenSSH's rule for keys (openssh-portable authfile.c, sshkey_perm_ok).
	if f := (pki.File{Mode: modeOf(o.passphraseFile)}); f.Exposed() && ours(o.passphraseFile) {
		return "", failed(fmt.Errorf("reading --passphrase-file %s: others may read it (mode %04o)", o.passphraseFile, f.Mode.Perm()),
			"chmod 600 "+quoted(o.passphraseFile)+"; a mounted Secret has it by defaultMode: 0400; or give it on standard input, --passphrase-file -")
	}
	raw, err := in.read("--passphrase-file", o.passphraseFile)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

// ask reads a passphrase from the terminal, once for each prompt. It ends with the
// context, and leaves the terminal as it was.
func ask(ctx context.Context, streams genericiooptions.IOStreams, what string, prompts ...string) (string, error) {
	terminal, ok := prompt.Terminal(streams.In)
	if !ok {
		return "", usage(fmt.Errorf("%s: there is nobody to ask", what), "give --passphrase-file FILE, or an age recipient")
	}
	words := make([]string, len(prompts))
	for i, text := range prompts {
		fmt.Fprint(streams.ErrOut, text)
		word, err := prompt.Secret(ctx, terminal)
		if err != nil && ctx.Err() != nil {
			return "", err
		}
		fmt.Fprintln(streams.ErrOut)
		if err != nil {
			return "", failed(err, "")
		}
		words[i] = word
	}
	if words[0] != words[len(words)-1] {
		return "", failed(errors.New("the two passphrases differ"), "")
	}
	return words[0], nil
}

// moment is a flag for a point in time, now where it is not given.
type moment struct{ time.Time }

func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}
func (m *moment) Type() string { return "time" }
func (m *moment) Set(text string) (err error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if m.Time, err = time.Parse(layout, text); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%q is not a time: write %s or %s", text, "2027-01-31", "2027-01-31T12:00:00Z")
}

func (m *moment) orNow() time.Time {
	if m.IsZero() {
		return time.Now().UTC()
	}
	return m.UTC()
}

// created is a set of new files that are either all there or none.
type created struct {
	files   []string
	folders []string
}

// folder makes a folder for its owner alone, and those above it that are missing.
func (c *created) folder(path string) error {
	var missing []string
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			return fmt.Errorf("%s is not a folder", dir)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		missing = append(missing, dir)
	}
	slices.Reverse(missing)
	for _, dir := range missing {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		c.folders = append(c.folders, dir)
	}
	return nil
}

// file writes a new file and brings it to the disk; one that is there already is
// never written over, nor followed if it is a link.
func (c *created) file(path string, data []byte, mode os.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	c.files = append(c.files, path)
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return pki.SyncFolder(filepath.Dir(path))
}

// undo takes back what was made, and says what it could not.
func (c *created) undo() error {
	var all []error
	for _, path := range slices.Concat(c.files, reversed(c.folders)) {
		if err := os.Remove(path); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

func reversed(all []string) []string {
	turned := slices.Clone(all)
	slices.Reverse(turned)
	return turned
}
