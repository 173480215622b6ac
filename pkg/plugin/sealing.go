package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/tui"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"
)

// passphraseWord seals to a passphrase instead of an age recipient.
const passphraseWord = "passphrase"

// sealFlags say for whom something is sealed, and where it is written.
type sealFlags struct {
	opener
	sealTo     []string
	sealedFile string
	noTrial    string
}

// addSealFlags adds the flags; sealed is what they seal.
func (f *sealFlags) addSealFlags(cmd *cobra.Command, sealed string) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.sealTo, "seal-to", nil, "age recipient that "+sealed+" is sealed to (may be repeated), or the word passphrase")
	flags.StringVar(&f.sealedFile, "sealed-file", "", "where "+sealed+" is written, sealed; never over another file")
	f.addFlags(flags)
	completions(cmd, "seal-to", passphraseWord)
}

// addTrialFlag adds the way past a trial decryption.
func (f *sealFlags) addTrialFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.noTrial, "no-trial", "", fmt.Sprintf("the last %d characters of the recipient: it is known that nobody has tried to open the sealed file", tui.EndingLength))
}

func (f *sealFlags) validateSeal() error {
	switch {
	case (len(f.sealTo) == 0) != (f.sealedFile == ""):
		return usage(errors.New("--seal-to and --sealed-file belong together"), "the one says for whom, the other where")
	case slices.Contains(f.sealTo, passphraseWord) && len(f.sealTo) > 1:
		return usage(errors.New("--seal-to: a file is sealed to a passphrase or to recipients, not to both"), "leave the one or the other out")
	case f.passphraseFile != "" && !slices.Contains(f.sealTo, passphraseWord):
		return usage(errors.New("--passphrase-file is for --seal-to passphrase"), "give --seal-to passphrase with it, or --identity for a recipient")
	}
	_, err := f.recipients()
	return err
}

// recipients are the age recipients named; none where it is a passphrase.
func (f *sealFlags) recipients() ([]age.Recipient, error) {
	var all []age.Recipient
	for _, text := range f.sealTo {
		if text == passphraseWord {
			continue
		}
		recipient, err := pki.ParseRecipient(text)
		if err != nil {
			return nil, usage(fmt.Errorf("--seal-to: %w", err), "a recipient begins with age1; 'age-keygen' makes one")
		}
		all = append(all, recipient)
	}
	return all, nil
}

// sealing is where something goes sealed, and what opens it again at once.
type sealing struct {
	file       string
	recipients []age.Recipient
	trial      []age.Identity
}

// sealing reads what the flags name, and asks for the passphrase where they name
// none; nil where nothing is to be sealed.
func (f *sealFlags) sealing(ctx context.Context, in *input, streams genericiooptions.IOStreams) (*sealing, error) {
	if len(f.sealTo) == 0 {
		return nil, nil
	}
	s := &sealing{file: f.sealedFile}
	var err error
	if exists(f.sealedFile) {
		return nil, failed(fmt.Errorf("--sealed-file %s is there already", f.sealedFile), "name another: a sealed file is never written over")
	}
	if f.sealTo[0] != passphraseWord {
		if s.recipients, err = f.recipients(); err != nil {
			return nil, err
		}
		s.trial, err = opener{identity: f.identity}.identities(in) // a passphrase opens nothing that is sealed to a recipient
		return s, err
	}
	var word string
	if f.passphraseFile != "" {
		word, err = f.passphrase(in)
	} else {
		word, err = ask(ctx, streams, "--seal-to passphrase", "Passphrase: ", "Once more: ")
	}
	if err != nil {
		return nil, err
	}
	recipient, err := pki.PassphraseRecipient(word)
	if err != nil {
		return nil, failed(fmt.Errorf("--seal-to passphrase: %w", err), "")
	}
	identity, err := pki.PassphraseIdentity(word)
	if err != nil {
		return nil, failed(fmt.Errorf("--seal-to passphrase: %w", err), "")
	}
	s.recipients, s.trial = []age.Recipient{recipient}, []age.Identity{identity}
	return s, nil
}

// asked refuses, before anything is read, what acknowledge would have to ask of
// somebody who is not there.
func (f *sealFlags) asked(streams genericiooptions.IOStreams) error {
	if len(f.sealTo) == 0 || f.sealTo[0] == passphraseWord || f.identity != "" || f.noTrial != "" || isTerminal(streams.In) {
		return nil
	}
	return untried(f.sealTo[0])
}

func untried(recipient string) error {
	return usage(fmt.Errorf("--seal-to %s: nobody has tried to open what is sealed to it", recipient),
		"give --identity FILE, which opens it once, or --no-trial "+tui.Ending(recipient))
}

// acknowledge has the operator say that nobody has tried to open what will be
// sealed: to a recipient whose identity is lost, a copy is none.
func (f *sealFlags) acknowledge(ctx context.Context, s *sealing, streams genericiooptions.IOStreams) error {
	if s == nil || len(s.trial) > 0 {
		return nil
	}
	for _, text := range f.sealTo {
		want := tui.Ending(text)
		typed := f.noTrial
		if typed == "" && isTerminal(streams.In) {
			fmt.Fprintf(streams.ErrOut, "Nobody tries to open what is sealed to %s: without its identity it is lost.\nType the last %d characters of the recipient, or give --identity: ", plain(text), tui.EndingLength)
			var err error
			if typed, err = answer(ctx, streams); err != nil {
				return found(errors.New("not acknowledged: nothing was done"), "")
			}
		}
		switch {
		case typed == "":
			return untried(text)
		case typed != want:
			return found(fmt.Errorf("not acknowledged: %q is not how %s ends", typed, text), "")
		}
	}
	return nil
}

// write seals old and new CA, and a root's key that was made here.
func (s *sealing) write(plan *rotation.Plan, old map[string][]byte, ca newCA) error {
	entries := map[string]string{}
	for name, value := range old {
		entries["old/"+name] = string(value)
	}
	files, err := ca.authority.Files()
	if err != nil {
		return err
	}
	for _, f := range files.All() {
		entries["new/"+f.Name] = string(f.Data)
	}
	if ca.root != nil {
		rootKey, err := ca.root.KeyPEM()
		if err != nil {
			return err
		}
		entries["new/root-key.pem"] = string(rootKey)
	}
	text, err := yaml.Marshal(map[string]any{"rotation": plan.ID, "secret": plan.Namespace + "/" + plan.Secret, "files": entries})
	if err != nil {
		return err
	}
	return pki.WriteSealed(s.file, text, s.recipients, s.trial)
}
