package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// checkArchive wants the binary, LICENSE and README.md, and nothing else.
func checkArchive(dist, name string, p platform) error {
	file := filepath.Join(dist, name)
	var has []string
	var mode fs.FileMode
	note := func(path string, m fs.FileMode) {
		if has = append(has, path); path == p.binary() {
			mode = m
		}
	}
	var err error
	if strings.HasSuffix(name, ".zip") {
		err = listZip(file, note)
	} else {
		err = listTar(file, note)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	slices.Sort(has)
	if want := []string{"LICENSE", "README.md", p.binary()}; !slices.Equal(has, want) {
		return fmt.Errorf("%s holds %q, not %q", name, has, want)
	}
	if mode.Perm() != 0o755 {
		return fmt.Errorf("%s: the binary's mode is %s", name, mode)
	}
	return nil
}

func listZip(file string, note func(string, fs.FileMode)) error {
	archive, err := zip.OpenReader(file)
	if err != nil {
		return err
	}
	defer archive.Close()
	for _, f := range archive.File {
		note(f.Name, f.Mode())
	}
	return nil
}

func listTar(file string, note func(string, fs.FileMode)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	archive := tar.NewReader(plain)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		note(header.Name, header.FileInfo().Mode())
	}
}

// checkSBOM wants SPDX that names what the binary is made of.
func checkSBOM(dist, name string) error {
	raw, err := os.ReadFile(filepath.Join(dist, name))
	if err != nil {
		return err
	}
	var bill struct {
		SPDXVersion string
		Packages    []struct{ Name, VersionInfo string }
	}
	if err := json.Unmarshal(raw, &bill); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !strings.HasPrefix(bill.SPDXVersion, "SPDX-2") {
		return fmt.Errorf("%s is no SPDX: %q", name, bill.SPDXVersion)
	}
	for _, module := range []string{"k8s.io/client-go", "github.com/spf13/cobra", "filippo.io/age", "stdlib"} {
		if !slices.ContainsFunc(bill.Packages, func(p struct{ Name, VersionInfo string }) bool { return p.Name == module && p.VersionInfo != "" }) {
			return fmt.Errorf("%s does not name %s among %d packages", name, module, len(bill.Packages))
		}
	}
	return nil
}

// checkPackage wants a package that is there; what is in it, goreleaser's
// configuration says.
func checkPackage(file string) error {
	info, err := os.Stat(file)
	if err == nil && info.Size() < 1<<20 {
		err = fmt.Errorf("%s has %d bytes", file, info.Size())
	}
	return err
}
