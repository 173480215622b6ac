package plugin

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// formerFlag marks a flag's earlier name with that of now.
const formerFlag = "meshca_formerly"

// formerly keeps the earlier name of a flag, unlisted, for scripts written by an
// earlier page of help. pflag's own MarkDeprecated would speak on stdout.
func formerly(flags *pflag.FlagSet, old, shorthand, now string) {
	f := flags.Lookup(now)
	flags.AddFlag(&pflag.Flag{Name: old, Shorthand: shorthand, Usage: "--" + now, Value: f.Value, DefValue: f.DefValue, Hidden: true,
		Annotations: map[string][]string{formerFlag: {now}}})
}

// warnFormer says which flags of a command line have another name now.
func warnFormer(cmd *cobra.Command, streams genericiooptions.IOStreams) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if now := f.Annotations[formerFlag]; len(now) > 0 {
			fmt.Fprintf(streams.ErrOut, "warning: --%s is called --%s now\n", f.Name, now[0])
		}
	})
}
