package plugin

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const completionExample = `  # kubectl's own completion of "kubectl meshca": kubectl asks this file, anywhere on the PATH
  kubectl meshca completion kubectl > ~/bin/kubectl_complete-meshca && chmod +x ~/bin/kubectl_complete-meshca

  # for the binary called by its own name
  source <(kubectl-meshca completion bash)`

// completer is the name that kubectl looks for on the PATH to complete the
// arguments of "kubectl meshca" (k8s.io/kubectl pkg/cmd/plugin/plugin_completion.go).
const completer = "kubectl_complete-meshca"

// kubectlScript is what krew, which links one binary only, does not install.
const kubectlScript = "#!/bin/sh\n# Completes the arguments of kubectl meshca.\nexec kubectl-meshca __complete \"$@\"\n"

// Args are the arguments of a command line by the name it was called by: a link
// to the binary with the completer's name completes.
func Args(argv []string) []string {
	if len(argv) == 0 {
		return nil
	}
	name := strings.TrimSuffix(filepath.Base(filepath.ToSlash(argv[0])), ".exe")
	if name == completer {
		return append([]string{cobra.ShellCompRequestCmd}, argv[1:]...)
	}
	return argv[1:]
}

func newCompletionCommand(streams genericiooptions.IOStreams) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell", "kubectl"}
	return &cobra.Command{
		Use:   "completion " + strings.Join(shells, "|"),
		Short: "Print the completion script of a shell, or kubectl's own",
		Long: "Prints a script. That of kubectl, saved as " + completer + " on the PATH, completes\n" +
			"\"kubectl meshca\" in every shell in which kubectl completes; a link of that name to the\n" +
			"binary does the same. The others are for the binary called by its own name.",
		Example:               completionExample,
		ValidArgs:             shells,
		DisableFlagsInUseLine: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return usage(fmt.Errorf("name one of %s", strings.Join(shells, ", ")), fmt.Sprintf("run '%s --help'", cmd.CommandPath()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			root := cmd.Root()
			switch args[0] {
			case "bash":
				err = root.GenBashCompletionV2(streams.Out, true)
			case "zsh":
				err = root.GenZshCompletion(streams.Out)
			case "fish":
				err = root.GenFishCompletion(streams.Out, true)
			case "powershell":
				err = root.GenPowerShellCompletionWithDesc(streams.Out)
			default:
				_, err = io.WriteString(streams.Out, kubectlScript)
			}
			if err != nil {
				return failed(fmt.Errorf("writing the script: %w", err), "")
			}
			return nil
		},
	}
}
