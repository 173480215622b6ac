package pki

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// ParseRecipient reads one age recipient (age1...). What is not one may be a
// secret, so no error repeats it.
func ParseRecipient(text string) (age.Recipient, error) {
	if strings.HasPrefix(strings.ToUpper(strings.TrimSpace(text)), "AGE-SECRET-KEY-") {
		return nil, errors.New("this is the secret identity, not the recipient that belongs to it")
	}
	recipients, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(recipients) != 1 {
		return nil, errors.New("it is not an age recipient")
	}
	return recipients[0], nil
}

// PassphraseRecipient seals to whoever knows the passphrase (scrypt). Such a file
// has no other recipient.
func PassphraseRecipient(passphrase string) (age.Recipient, error) {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, errors.New("the passphrase is empty")
	}
	return recipient, nil
}

// PassphraseIdentity opens what PassphraseRecipient sealed.
func PassphraseIdentity(passphrase string) (age.Identity, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, errors.New("the passphrase is empty")
	}
	return identity, nil
}

// ParseIdentities reads a file of age identities, as age-keygen writes it. No
// error repeats what is in it.
func ParseIdentities(data []byte) ([]age.Identity, error) {
	identities, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil || len(identities) == 0 {
		return nil, errors.New("no age identity in it, or something else besides")
	}
	return identities, nil
}

// binary is how an age file begins that is not armored (C2SP age, "age-encryption.org/v1").
const binary = "age-encryption.org/v1\n"

// Sealed reports whether data begins as an age file does, armored or not.
func Sealed(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte(armor.Header)) || bytes.HasPrefix(data, []byte(binary))
}

// Seal encrypts for the recipients and writes armored age. Without a recipient it
// fails and writes nothing.
func Seal(w io.Writer, plaintext []byte, recipients ...age.Recipient) error {
	armored := armor.NewWriter(w)
	sealed, err := age.Encrypt(armored, recipients...)
	if err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	if _, err := sealed.Write(plaintext); err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	if err := errors.Join(sealed.Close(), armored.Close()); err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	return nil
}

// Unseal decrypts what Seal wrote, and what age wrote without armor. A file that is
// cut or changed anywhere gives an error and nothing of the plaintext.
func Unseal(r io.Reader, identities ...age.Identity) ([]byte, error) {
	file := bufio.NewReader(r)
	begin, _ := file.Peek(len(binary)) // what cannot be read fails below
	if r = file; string(begin) != binary {
		r = armor.NewReader(file)
	}
	sealed, err := age.Decrypt(r, identities...)
	if err != nil {
		return nil, fmt.Errorf("unsealing: %w", err)
	}
	plaintext, err := io.ReadAll(sealed)
	if err != nil {
		return nil, fmt.Errorf("unsealing: %w", err)
	}
	return plaintext, nil
}

// WriteSealed writes a sealed file: never over another, readable by its owner
// alone, whole or not at all, on disk when it returns, and opened once with the
// trial identities, where there are any. Nothing is left behind when it fails.
func WriteSealed(path string, plaintext []byte, recipients []age.Recipient, trial []age.Identity) (err error) {
	var buffer bytes.Buffer
	if err := Seal(&buffer, plaintext, recipients...); err != nil {
		return err
	}
	sealed := buffer.Bytes()
	// It gets its name when it is whole and has been opened.
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // of mode 0600
	if err != nil {
		return fmt.Errorf("writing the sealed file: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	_, err = file.Write(sealed)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("writing the sealed file: %w", err)
	}
	if err := reads(file.Name(), sealed, plaintext, trial); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := publish(file.Name(), path, sealed, SyncFolder); err != nil {
		return fmt.Errorf("writing the sealed file: %w", err)
	}
	return nil
}

// publish gives a file, whose content is sealed, its own name too, and takes the name
// back where it is not certain to stay.
func publish(file, path string, sealed []byte, sync func(folder string) error) error {
	err := os.Link(file, path)
	if err != nil && !errors.Is(err, os.ErrExist) { // a file system without links
		err = writeNew(path, sealed)
	}
	if err != nil {
		return err
	}
	if err := sync(filepath.Dir(path)); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// reads reads a sealed file back, and opens it where it can be.
func reads(path string, sealed, plaintext []byte, trial []age.Identity) error {
	written, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the sealed file back: %w", err)
	}
	if !bytes.Equal(written, sealed) {
		return errors.New("it does not hold what was written")
	}
	if len(trial) == 0 {
		return nil
	}
	opened, err := Unseal(bytes.NewReader(written), trial...)
	if err != nil {
		return fmt.Errorf("opening it again with the identity given: %w", err)
	}
	if !bytes.Equal(opened, plaintext) {
		return errors.New("it does not hold what was sealed")
	}
	return nil
}

// writeNew writes a new file in place, and takes it back where that fails.
func writeNew(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
