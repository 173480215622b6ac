package plugin

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Version is the release this binary was built as: the module's version, which
// "go install", release builds and builds in a checkout record, or "devel".
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// versionInfo is the result of "version".
type versionInfo struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Version    string `json:"version"`
	// Commit and CommitTime are what it was built from; Modified is true where the
	// checkout held more than the commit. They are empty for "go install".
	Commit     string `json:"commit,omitempty"`
	CommitTime string `json:"commitTime,omitempty"`
	Modified   bool   `json:"modified,omitempty"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

func newVersionInfo() versionInfo {
	v := versionInfo{APIVersion: mesh.APIVersion, Kind: "Version", Version: Version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			v.Commit = setting.Value
		case "vcs.time":
			v.CommitTime = setting.Value
		case "vcs.modified":
			v.Modified = setting.Value == "true"
		}
	}
	return v
}

func (v versionInfo) rows(wide bool) [][]string {
	rows := [][]string{{fmt.Sprintf("kubectl-meshca %s %s %s", v.Version, v.Platform, v.Go)}}
	if wide && v.Commit != "" {
		rows = append(rows, []string{"commit " + v.Commit + " of " + v.CommitTime})
	}
	return rows
}

func (v versionInfo) names() []string { return []string{v.Version} }

func newVersionCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this plugin",
		Example: "  kubectl meshca version\n\n  # with the commit it was built from\n  kubectl meshca version -o json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := validOutput(output); err != nil {
				return err
			}
			return printResult(streams.Out, output, newVersionInfo())
		},
	}
	outputFlag(cmd, &output)
	return cmd
}
