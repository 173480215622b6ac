package pki

import (
	"errors"
	"os"
	"runtime"
)

// SyncFolder brings a folder's entries to the disk, so that a file in it keeps its name
// when the machine stops. Windows flushes no folder (FlushFileBuffers wants a handle
// for writing, which os.Open does not give: "Access is denied"), and is not asked.
func SyncFolder(path string) error { return syncFolder(path, runtime.GOOS) }

func syncFolder(path, system string) error {
	if system == "windows" {
		return nil
	}
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
