package plugin

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/spf13/cobra"
)

// caFlags name the new CA: the user's files, or one that is made here.
type caFlags struct {
	sealFlags
	root, cert, key, chain string
	make                   bool
	keySpec                string
	oldRootKey, cross      string
	// told hears of a key that others may read; nil where nobody is told.
	told func() io.Writer
}

func (f *caFlags) addFlags(cmd *cobra.Command) {
	f.told = cmd.ErrOrStderr
	flags := cmd.Flags()
	flags.StringVar(&f.root, "root", "", "PEM file of the new root")
	flags.StringVar(&f.cert, "ca-cert", "", "PEM file of the new certificate that signs (the intermediate)")
	flags.StringVar(&f.key, "ca-key", "", "PEM file of its key")
	flags.StringVar(&f.chain, "chain", "", "PEM file of what stands between it and the root (may be left out)")
	flags.BoolVar(&f.make, "new-ca", false, "make a root and an intermediate here; the root's key leaves only sealed")
	flags.StringVar(&f.keySpec, "key", string(pki.ECDSAP256), "with --new-ca: kind of the keys: "+strings.Join(keySpecNames(), ", "))
	flags.StringVar(&f.oldRootKey, "old-root-key", "", "PEM file of the old root's key, in clear or sealed, to cross-sign the new root or to certify the old one anew")
	flags.StringVar(&f.cross, "cross-cert", "", "PEM file of the new root as signed by the old one, made offline")
	f.addSealFlags(cmd, "the copy of old and new CA")
	f.addTrialFlag(cmd)
}

// given reports whether the flags name a new CA at all.
func (f *caFlags) given() bool {
	return f.make || f.root != "" || f.cert != "" || f.key != "" || f.chain != ""
}

func (f *caFlags) validate() error {
	files := map[string]string{"--root": f.root, "--ca-cert": f.cert, "--ca-key": f.key}
	if f.make {
		for name, value := range files {
			if value != "" || f.chain != "" {
				return usage(fmt.Errorf("--new-ca and %s exclude each other", name), "give the files of a CA, or have one made")
			}
		}
		if len(f.sealTo) == 0 || f.sealedFile == "" {
			return usage(errors.New("--new-ca needs --seal-to and --sealed-file: the new root's key must be kept somewhere, and never in clear"), "make a recipient with 'age-keygen -o key.txt', or use --seal-to passphrase")
		}
		if _, err := pki.ParseKeySpec(f.keySpec); err != nil {
			return usage(fmt.Errorf("--key: %w", err), "use one of "+strings.Join(keySpecNames(), ", "))
		}
	} else if f.given() {
		var missing []string
		for _, name := range []string{"--root", "--ca-cert", "--ca-key"} {
			if files[name] == "" {
				missing = append(missing, name)
			}
		}
		if len(missing) > 0 {
			return usage(fmt.Errorf("half a CA: %s is missing", strings.Join(missing, ", ")), "give --root, --ca-cert, --ca-key and --chain, or --new-ca")
		}
	}
	if f.oldRootKey != "" && f.cross != "" {
		return usage(errors.New("--old-root-key and --cross-cert exclude each other"), "the one makes what the other is")
	}
	seal := f.sealFlags
	if f.oldRootKey != "" {
		seal.passphraseFile = "" // it may be what opens the key
	}
	return seal.validateSeal()
}

// newCA is the CA that the flags name. root is set where the root was made
// here: its key goes into the sealed file and nowhere else. renewed is the mesh's own
// with its root certified anew.
type newCA struct {
	authority *pki.Authority
	root      *pki.Authority
	renewed   bool
}

func (f *caFlags) load(now time.Time) (newCA, error) {
	if f.make {
		return f.generate(now)
	}
	files, err := f.files()
	if err != nil {
		return newCA{}, err
	}
	for _, finding := range pki.LintFiles(files) {
		if finding.Severity == pki.SeverityError {
			return newCA{}, found(fmt.Errorf("%s: %s", finding.Subject, finding.Message), finding.Hint)
		}
	}
	warnExposed(f.warned(), "--ca-key", f.key)
	authority, err := pki.ParseFiles(files)
	if err != nil {
		return newCA{}, found(fmt.Errorf("reading the new CA: %w", err), "'kubectl meshca ca lint' names every fault of its files")
	}
	return newCA{authority: authority.Rooted()}, nil
}

// warned is told's, nil where nobody is told.
func (f *caFlags) warned() io.Writer {
	if f.told == nil {
		return nil
	}
	return f.told()
}

func (f *caFlags) files() (files pki.Files, err error) {
	for _, one := range []struct {
		flag, name string
		into       *pki.File
	}{{"--root", f.root, &files.Root}, {"--ca-cert", f.cert, &files.CACert}, {"--ca-key", f.key, &files.CAKey}, {"--chain", f.chain, &files.Chain}} {
		if one.name == "" {
			continue
		}
		raw, err := readFile(one.flag, one.name)
		if err != nil {
			return files, err
		}
		if len(bytes.TrimSpace(raw)) == 0 && one.flag != "--chain" {
			return files, found(fmt.Errorf("%s %s is empty", one.flag, one.name), "")
		}
		*one.into = pki.File{Name: one.flag + " " + one.name, Data: raw}
	}
	return files, nil
}

// generate makes a root and an intermediate as "ca new" does where nothing else is
// said.
func (f *caFlags) generate(now time.Time) (newCA, error) {
	o := newCADefaults()
	o.key = f.keySpec
	root, intermediate, err := o.names(now)
	if err != nil {
		return newCA{}, err
	}
	return o.make(&input{}, root, intermediate, now)
}

// nobody is a standard input that nothing is read from.
type nobody struct{}

func (nobody) Read([]byte) (int, error) {
	return 0, errors.New("here it cannot be standard input")
}

// oldKey is the old root's key.
func (f *caFlags) oldKey() (crypto.Signer, error) {
	in := &input{stdin: nobody{}, told: f.warned()}
	return in.key("--old-root-key", f.oldRootKey, f.opener)
}

// crossCert is the new root as signed by the old one, where it can be had: given,
// made with the old root's key, or nil.
func (f *caFlags) crossCert(s *mesh.Snapshot, ca *pki.Authority, now time.Time) (*pki.Certificate, error) {
	root := ca.Roots.Certs[0]
	if f.cross != "" {
		raw, err := readFile("--cross-cert", f.cross)
		if err != nil {
			return nil, err
		}
		bundle, err := pki.ParseBundle(raw)
		if err != nil {
			return nil, found(fmt.Errorf("--cross-cert %s: %w", f.cross, err), "")
		}
		cross := bundle.Certs[0]
		if cross.X509 == nil || root.X509 == nil || !pki.SameKey(cross.X509.PublicKey, root.X509.PublicKey) || !bytes.Equal(cross.X509.RawSubject, root.X509.RawSubject) {
			return nil, found(fmt.Errorf("--cross-cert %s does not certify the new root %s", f.cross, root.Subject()), "make it with 'kubectl meshca ca cross-sign', from the root that --root names")
		}
		return cross, nil
	}
	if f.oldRootKey == "" {
		return nil, nil
	}
	key, err := f.oldKey()
	if err != nil {
		return nil, err
	}
	if len(s.ControlPlanes) == 0 {
		return nil, nil
	}
	old, err := pki.Generation(s.ControlPlanes[0].CA.Root.Certs, key, now)
	if errors.Is(err, pki.ErrNotOfKey) {
		return nil, found(fmt.Errorf("--old-root-key %s is the key of none of the mesh's roots", f.oldRootKey), "'kubectl meshca ca inspect' shows which certificate a key belongs to")
	}
	if err != nil {
		return nil, found(fmt.Errorf("--old-root-key %s: %w", f.oldRootKey, err), crossHint(err))
	}
	cross, err := (&pki.Authority{Cert: old, Key: key}).CrossSign(root, now)
	if err != nil {
		return nil, found(err, crossHint(err))
	}
	return cross, nil
}
