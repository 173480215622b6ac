package plugin

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// strictHelp has "help" refuse what is no command. Cobra's own shows the page of whatever
// command it came to, and ends as if it had been asked for that.
func strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, help := range root.Commands() {
		if help.Name() != "help" {
			continue
		}
		show := help.Run
		help.Run, help.RunE = nil, func(cmd *cobra.Command, args []string) error {
			if _, rest, err := root.Find(args); err != nil || len(rest) > 0 {
				return usage(fmt.Errorf("unknown help topic %q", strings.Join(args, " ")), "run 'kubectl meshca --help'")
			}
			show(cmd, args)
			return nil
		}
	}
}
