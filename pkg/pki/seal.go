package pki

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// ParseRecipient reads an age recipient (age1...).
func ParseRecipient(text string) (age.Recipient, error) {
	recipients, err := age.ParseRecipients(bytes.NewReader([]byte(text)))
	if err != nil || len(recipients) != 1 {
		return nil, fmt.Errorf("%q is not an age recipient", text)
	}
	return recipients[0], nil
}

// Seal encrypts for the recipients, as armored age.
func Seal(plaintext []byte, recipients ...age.Recipient) ([]byte, error) {
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, recipients...)
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	if _, err := w.Write(plaintext); err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	if err := errors.Join(w.Close(), armored.Close()); err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	return out.Bytes(), nil
}

// Unseal decrypts what Seal made.
func Unseal(sealed []byte, identities ...age.Identity) ([]byte, error) {
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(sealed)), identities...)
	if err != nil {
		return nil, fmt.Errorf("unsealing: %w", err)
	}
	plaintext, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("unsealing: %w", err)
	}
	return plaintext, nil
}

// WriteSealed writes a sealed file: never over another, readable by its owner
// alone, on disk when it returns, and opened once with the trial identities, where
// there are any. Nothing is left behind when it fails.
func WriteSealed(path string, plaintext []byte, recipients []age.Recipient, trial []age.Identity) (err error) {
	sealed, err := Seal(plaintext, recipients...)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing the sealed file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	_, err = file.Write(sealed)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("writing the sealed file: %w", err)
	}
	if err = syncFolder(filepath.Dir(path)); err != nil {
		return err
	}
	written, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the sealed file back: %w", err)
	}
	if !bytes.Equal(written, sealed) {
		return fmt.Errorf("%s does not hold what was written", path)
	}
	if len(trial) == 0 {
		return nil
	}
	opened, err := Unseal(written, trial...)
	if err != nil {
		return fmt.Errorf("opening %s again with the identity given: %w", path, err)
	}
	if !bytes.Equal(opened, plaintext) {
		return fmt.Errorf("%s does not hold what was sealed", path)
	}
	return nil
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("writing the sealed file: %w", err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fmt.Errorf("writing the sealed file: %w", err)
	}
	return nil
}
