// release checks what a release consists of, in goreleaser's folder.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

const project = "kubectl-meshca"

// platforms are all that krew, the archives and their SBOMs are for.
func platforms() []platform {
	return []platform{{"darwin", "amd64"}, {"darwin", "arm64"}, {"linux", "amd64"}, {"linux", "arm"}, {"linux", "arm64"}, {"windows", "amd64"}, {"windows", "arm64"}}
}

type platform struct{ os, arch string }

func (p platform) binary() string {
	if p.os == "windows" {
		return project + ".exe"
	}
	return project
}

func (p platform) archive(version string) string {
	ending := ".tar.gz"
	if p.os == "windows" {
		ending = ".zip"
	}
	return fmt.Sprintf("%s_v%s_%s_%s%s", project, version, p.os, p.arch, ending)
}

func main() {
	dist := flag.String("dist", "dist", "goreleaser's folder")
	again := flag.String("again", "", "the same of a second build, to be equal byte for byte")
	template := flag.String("template", "plugins/krew.yaml", "krew-release-bot's template")
	out := flag.String("out", "", "where the rendered manifest is written")
	flag.Parse()
	if err := run(*dist, *again, *template, *out); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(dist, again, template, out string) error {
	version, err := versionOf(dist)
	if err != nil {
		return err
	}
	sums, err := checksums(dist)
	if err != nil {
		return err
	}
	var faults []error
	for _, p := range platforms() {
		name := p.archive(version)
		if sums[name] == "" {
			faults = append(faults, fmt.Errorf("checksums.txt lacks %s", name))
		}
		faults = append(faults, checkArchive(dist, name, p), checkSBOM(dist, name+".spdx.json"))
	}
	for _, packed := range []string{"deb", "rpm", "apk"} {
		faults = append(faults, checkPackage(filepath.Join(dist, fmt.Sprintf("%s_v%s_linux_amd64.%s", project, version, packed))))
	}
	faults = append(faults, checkManifest(dist, template, out, version, sums))
	if again != "" {
		faults = append(faults, same(sums, again))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	fmt.Printf("%d archives with LICENSE, README and SBOM, packages, and krew's manifest are in order\n", len(platforms()))
	return nil
}

func versionOf(dist string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(dist, "metadata.json"))
	if err != nil {
		return "", err
	}
	var about struct{ Version string }
	if err := json.Unmarshal(raw, &about); err != nil {
		return "", fmt.Errorf("metadata.json: %w", err)
	}
	return about.Version, nil
}

// checksums reads checksums.txt and holds every file against it.
func checksums(dist string) (map[string]string, error) {
	file, err := os.Open(filepath.Join(dist, "checksums.txt"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sums := map[string]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok {
			return nil, fmt.Errorf("checksums.txt: %q", lines.Text())
		}
		raw, err := os.ReadFile(filepath.Join(dist, name))
		if err != nil {
			return nil, err
		}
		if has := sha256.Sum256(raw); hex.EncodeToString(has[:]) != sum {
			return nil, fmt.Errorf("%s is not what checksums.txt says", name)
		}
		sums[name] = sum
	}
	return sums, nil
}

// same holds a second build's files against the first's. An SBOM carries the time
// and a number of its own; apk and rpm packages are compared as well.
func same(sums map[string]string, again string) error {
	second, err := checksums(again)
	if err != nil {
		return err
	}
	equal := 0
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if strings.HasSuffix(name, ".spdx.json") {
			continue
		}
		if second[name] == "" {
			continue // the second build is of fewer things
		}
		if sums[name] != second[name] {
			return fmt.Errorf("two builds of %s differ", name)
		}
		equal++
	}
	if equal == 0 {
		return errors.New("no file was built twice")
	}
	fmt.Printf("%d files of two builds, in two folders, are equal byte for byte\n", equal)
	return nil
}

// checkManifest renders the bot's template and holds it against goreleaser's.
func checkManifest(dist, template, out, version string, sums map[string]string) error {
	rendered, err := render(template, "v"+version, sums)
	if err != nil {
		return err
	}
	made, err := os.ReadFile(filepath.Join(dist, "krew", "meshca.yaml"))
	if err != nil {
		return err
	}
	ours, err := manifestOf(rendered)
	if err != nil {
		return fmt.Errorf("%s: %w", template, err)
	}
	theirs, err := manifestOf(made)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(ours, theirs) {
		return fmt.Errorf("%s and .goreleaser.yaml make different manifests:\n%+v\n%+v", template, ours, theirs)
	}
	if length := len(ours.Spec.ShortDescription); length > 50 {
		return fmt.Errorf("the short description has %d characters, krew wants 50 at most", length)
	}
	for line := range strings.Lines(ours.Spec.Description) {
		if len(strings.TrimSpace(line)) > 80 {
			return fmt.Errorf("the description is wider than 80 columns: %q", line)
		}
	}
	for _, p := range platforms() {
		entry, ok := ours.Spec.Platforms[p.os+"/"+p.arch]
		if !ok || entry.Bin != p.binary() || entry.SHA256 != sums[p.archive(version)] {
			return fmt.Errorf("the manifest's entry for %s/%s is %+v", p.os, p.arch, entry)
		}
	}
	if out == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(out, rendered, 0o644)
}

// manifest is a krew manifest with its platforms by name.
type manifest struct {
	APIVersion, Kind string
	Metadata         struct{ Name string }
	Spec             struct {
		Version, Homepage, ShortDescription, Description, Caveats string
		Platforms                                                 map[string]entry
	}
}

type entry struct{ URI, SHA256, Bin string }

func manifestOf(raw []byte) (m manifest, err error) {
	var file struct {
		APIVersion, Kind string
		Metadata         struct{ Name string }
		Spec             struct {
			Version, Homepage, ShortDescription, Description, Caveats string
			Platforms                                                 []struct {
				URI, SHA256, Bin string
				Selector         struct{ MatchLabels map[string]string }
			}
		}
	}
	if err := yaml.UnmarshalStrict(raw, &file); err != nil {
		return m, err
	}
	m.APIVersion, m.Kind, m.Metadata = file.APIVersion, file.Kind, file.Metadata
	m.Spec.Version, m.Spec.Homepage, m.Spec.ShortDescription = file.Spec.Version, file.Spec.Homepage, file.Spec.ShortDescription
	m.Spec.Description, m.Spec.Caveats, m.Spec.Platforms = strings.TrimSpace(file.Spec.Description), file.Spec.Caveats, map[string]entry{}
	for _, p := range file.Spec.Platforms {
		m.Spec.Platforms[p.Selector.MatchLabels["os"]+"/"+p.Selector.MatchLabels["arch"]] = entry{p.URI, p.SHA256, p.Bin}
	}
	return m, nil
}
