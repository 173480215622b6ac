package pki

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// On Windows no folder is opened, let alone flushed.
func TestSyncFolder(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for system, want := range map[string]bool{"windows": true, "linux": false, "darwin": false} {
		if err := syncFolder(none, system); (err == nil) != want {
			t.Errorf("%s: %v", system, err)
		}
	}
	if err := SyncFolder(t.TempDir()); err != nil {
		t.Error(err)
	}
}

// A sealed file that may lose its name is taken back, linked or written, and another
// of that name is left alone.
func TestPublishTakesBack(t *testing.T) {
	refused := errors.New("the disk says no")
	for name, test := range map[string]struct {
		from string
		sync error
		left bool
	}{
		"linked":                       {"whole", nil, true},
		"linked, not brought to disk":  {"whole", refused, false},
		"written":                      {"none", nil, true},
		"written, not brought to disk": {"none", refused, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "root.age")
			if err := os.WriteFile(filepath.Join(dir, "whole"), []byte("sealed"), 0o600); err != nil {
				t.Fatal(err)
			}
			sync := func(folder string) error {
				if folder != dir {
					t.Errorf("%s was brought to disk", folder)
				}
				return test.sync
			}
			if err := publish(filepath.Join(dir, test.from), path, []byte("sealed"), sync); !errors.Is(err, test.sync) {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); (err == nil) != test.left || test.left && string(got) != "sealed" {
				t.Errorf("%q, %v", got, err)
			}
			if test.left {
				if err := publish(filepath.Join(dir, test.from), path, []byte("other"), sync); !errors.Is(err, os.ErrExist) {
					t.Errorf("over another: %v", err)
				}
				if got, err := os.ReadFile(path); err != nil || string(got) != "sealed" {
					t.Errorf("over another: %q, %v", got, err)
				}
			}
		})
	}
}
