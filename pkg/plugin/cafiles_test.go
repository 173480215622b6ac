package plugin

import (
	"os"
	"path/filepath"
	"testing"
)

// A file that is there is neither written over nor followed, and undo removes what
// was made and nothing else.
func TestCreated(t *testing.T) {
	dir := t.TempDir()
	there, link := filepath.Join(dir, "there"), filepath.Join(dir, "link")
	if err := os.WriteFile(there, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	made := &created{}
	if err := made.folder(filepath.Join(dir, "a", "b")); err != nil {
		t.Fatal(err)
	}
	if err := made.file(filepath.Join(dir, "a", "b", "new"), []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{there, link, filepath.Join(dir, "none", "x")} {
		if err := made.file(path, []byte("x"), 0o600); err == nil {
			t.Errorf("%s was written", path)
		}
	}
	if err := made.folder(filepath.Join(there, "x")); err == nil {
		t.Error("a folder was made below a file")
	}
	if err := made.undo(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("%v: %v", left, err)
	}
	if data, err := os.ReadFile(there); err != nil || string(data) != "mine" {
		t.Errorf("%s, %v", data, err)
	}
}
