package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// The release's job may write the repository and sign as it: what runs there is named by
// its commit, for whoever moves a tag would release in this project's name.
func TestReleaseRunsWhatItNames(t *testing.T) {
	raw, err := os.ReadFile("../../.github/workflows/release.yml")
	if err != nil {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`uses: *(\S+)(.*)`).FindAllStringSubmatch(string(raw), -1)
	if len(used) == 0 {
		t.Fatal("it uses no action")
	}
	for _, u := range used {
		if !regexp.MustCompile(`@[0-9a-f]{40}$`).MatchString(u[1]) || !regexp.MustCompile(`^ # v[0-9.]+$`).MatchString(u[2]) {
			t.Errorf("%s%s is not a commit with the release that it is of", u[1], u[2])
		}
	}
}

// macOS runs no file that is quarantined and not notarized, and Homebrew runs this one to
// have its completions.
func TestCaskCanBeRun(t *testing.T) {
	raw, err := os.ReadFile("../../.goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Casks []struct {
			Binaries    []string
			CustomBlock string `json:"custom_block"`
			Hooks       struct{ Post struct{ Install string } }
		} `json:"homebrew_casks"`
	}
	if err := yaml.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	if len(config.Casks) == 0 {
		t.Fatal("there is no cask")
	}
	for _, cask := range config.Casks {
		if link := `binary "kubectl-meshca", target: "kubectl_complete-meshca"`; !strings.Contains(cask.CustomBlock, link) {
			t.Errorf("kubectl finds nothing that completes the arguments: %q", cask.CustomBlock)
		}
		for _, binary := range cask.Binaries {
			if hook := cask.Hooks.Post.Install; !strings.Contains(hook, "com.apple.quarantine") || !strings.Contains(hook, "#{staged_path}/"+binary) {
				t.Errorf("the quarantine of %s is not taken off: %q", binary, hook)
			}
		}
	}
}
