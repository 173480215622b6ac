package pki_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"pgregory.net/rapid"
)

func ageKey(t testing.TB) (*age.X25519Identity, age.Recipient) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	recipient, err := pki.ParseRecipient(identity.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	return identity, recipient
}

func TestSealing(t *testing.T) {
	identity, recipient := ageKey(t)
	stranger, _ := ageKey(t)
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOf(rapid.Byte()).Draw(t, "secret")
		var sealed bytes.Buffer
		if err := pki.Seal(&sealed, secret, recipient); err != nil {
			t.Fatal(err)
		}
		if !pki.Sealed(sealed.Bytes()) || len(secret) > 8 && bytes.Contains(sealed.Bytes(), secret) {
			t.Fatal("it is not sealed")
		}
		if got, err := pki.Unseal(bytes.NewReader(sealed.Bytes()), identity); err != nil || !bytes.Equal(got, secret) {
			t.Fatalf("it does not open: %v", err)
		}
		if _, err := pki.Unseal(bytes.NewReader(sealed.Bytes()), stranger); err == nil {
			t.Fatal("a stranger opened it")
		}
		cut := rapid.IntRange(0, sealed.Len()-2).Draw(t, "cut")
		if got, err := pki.Unseal(bytes.NewReader(sealed.Bytes()[:cut]), identity); err == nil || got != nil {
			t.Fatalf("cut at %d of %d, it opened", cut, sealed.Len())
		}
	})
}

// age itself writes no armor unless it is asked to.
func TestSealedByAge(t *testing.T) {
	identity, recipient := ageKey(t)
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("secret")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !pki.Sealed(sealed.Bytes()) {
		t.Error("it is not sealed")
	}
	if got, err := pki.Unseal(bytes.NewReader(sealed.Bytes()), identity); err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
	for cut := range sealed.Len() {
		if got, err := pki.Unseal(bytes.NewReader(sealed.Bytes()[:cut]), identity); err == nil || got != nil {
			t.Fatalf("cut at %d of %d, it opened", cut, sealed.Len())
		}
	}
}

func TestPassphrase(t *testing.T) {
	recipient, err := pki.PassphraseRecipient("korrekt")
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	if err := pki.Seal(&sealed, []byte("secret"), recipient); err != nil {
		t.Fatal(err)
	}
	for word, opens := range map[string]bool{"korrekt": true, "falsch": false} {
		identity, err := pki.PassphraseIdentity(word)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pki.Unseal(bytes.NewReader(sealed.Bytes()), identity)
		if (err == nil) != opens || opens && string(got) != "secret" {
			t.Errorf("%s: %v", word, err)
		}
		if err != nil && strings.Contains(err.Error(), word) {
			t.Error("the error repeats the passphrase")
		}
	}
	if _, err := pki.PassphraseRecipient(""); err == nil {
		t.Error("an empty passphrase seals")
	}
	if _, err := pki.PassphraseIdentity(""); err == nil {
		t.Error("an empty passphrase opens")
	}
}

func TestRecipientsAndIdentities(t *testing.T) {
	identity, _ := ageKey(t)
	other, _ := ageKey(t)
	for _, bad := range []string{"", "age1", "passphrase", identity.String(), strings.ToLower(identity.String()), identity.Recipient().String() + "\n" + other.Recipient().String()} {
		if _, err := pki.ParseRecipient(bad); err == nil {
			t.Errorf("%.20q is a recipient", bad)
		} else if strings.Contains(err.Error(), identity.String()[20:]) {
			t.Error("the error repeats a secret")
		}
	}
	got, err := pki.ParseIdentities([]byte("# created by age-keygen\n" + identity.String() + "\n" + other.String() + "\n"))
	if err != nil || len(got) != 2 {
		t.Errorf("%d identities: %v", len(got), err)
	}
	for _, bad := range []string{"", "# nothing\n", "x\n" + identity.String(), identity.Recipient().String()} {
		if _, err := pki.ParseIdentities([]byte(bad)); err == nil {
			t.Errorf("%.20q holds identities", bad)
		} else if strings.Contains(err.Error(), identity.String()[20:]) {
			t.Error("the error repeats a secret")
		}
	}
}

func TestWriteSealed(t *testing.T) {
	identity, recipient := ageKey(t)
	stranger, _ := ageKey(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "root.age")
	trial := []age.Identity{identity}
	if err := pki.WriteSealed(path, []byte("secret"), []age.Recipient{recipient}, trial); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v: %v", info.Mode(), err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		path       string
		recipients []age.Recipient
		trial      []age.Identity
	}{
		"over another":           {path, []age.Recipient{recipient}, trial},
		"to nobody":              {filepath.Join(dir, "nobody.age"), nil, trial},
		"with a wrong identity":  {filepath.Join(dir, "wrong.age"), []age.Recipient{recipient}, []age.Identity{stranger}},
		"into no folder":         {filepath.Join(dir, "none", "a.age"), []age.Recipient{recipient}, trial},
		"over a folder":          {dir, []age.Recipient{recipient}, trial},
		"through a dangling way": {filepath.Join(dir, "link.age"), []age.Recipient{recipient}, trial},
	} {
		if name == "through a dangling way" {
			if err := os.Symlink(filepath.Join(dir, "elsewhere"), test.path); err != nil {
				t.Fatal(err)
			}
		}
		if err := pki.WriteSealed(test.path, []byte("other"), test.recipients, test.trial); err == nil {
			t.Errorf("%s: it was written", name)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 { // root.age and the link
		t.Errorf("left behind: %v, %v", left, err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the first sealed file has changed: %v", err)
	}
}
