//go:build unix

package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPassphraseFileOfAnother: a mounted Secret is root's, and its readers' group or all
// may read it; of one's own files that is refused, behind a link too.
func TestPassphraseFileOfAnother(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "word"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("long enough a word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o644, 0o440} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{file, link} {
			_, err := opener{passphraseFile: name}.passphrase(&input{})
			if _, hint := codeOf(err); err == nil || !strings.Contains(hint, "defaultMode: 0400") || !strings.Contains(hint, "--passphrase-file -") {
				t.Errorf("%s of mode %o: %v, %q", name, mode, err, hint)
			}
		}
	}
	if os.Getuid() != 0 {
		t.Skip("only root gives files away")
	}
	if err := os.Chown(file, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, link} {
		if word, err := (opener{passphraseFile: name}).passphrase(&input{}); err != nil || word != "long enough a word" {
			t.Errorf("%s, of somebody else: %q, %v", name, word, err)
		}
	}
}
