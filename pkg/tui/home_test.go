package tui

import (
	"path/filepath"
	"testing"
)

// TestFilesAtHome: a form has no shell that would make a file's name of ~/file.
func TestFilesAtHome(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	f := newForm(common{bound: newKeyMap(), now: noon}, "demo", noon())
	f.source.chosen = 1
	for _, q := range []*field{f.root, f.cert, f.key, f.chain, f.oldKey, f.file} {
		q.input.SetValue("~/ca/file.pem")
	}
	c, _ := f.choice()
	for _, got := range []string{c.Root, c.Cert, c.Key, c.ChainFile, c.OldRootKey, c.SealedFile} {
		if want := filepath.Join(home, "ca", "file.pem"); got != want {
			t.Errorf("it is %q, not %q", got, want)
		}
	}
	for _, name := range []string{"a/~/b", "~ann/b", "./~", ""} {
		if got := atHome(name); got != name {
			t.Errorf("%q became %q", name, got)
		}
	}
}
