package plugin

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// tellLists has the pages of help that name commands name those that there are. It
// runs once the tree stands.
func tellLists(root *cobra.Command) {
	offline := having(root, func(cmd *cobra.Command) bool { return cmd.Flags().Lookup(fromSnapshot) != nil })
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "snapshot":
			offline = slices.DeleteFunc(offline, func(name string) bool { return name == cmd.Name() })
			cmd.Long += "\n\n" + wrapped("With --from-snapshot the file is taken by "+among(offline)+".")
		case "rbac":
			cmd.Long += "\n\n" + wrapped("The role for reading is that of "+among(having(root, reads))+".") + "\n" +
				wrapped("The role for rotating is that of "+among(having(root, writes))+".")
		}
	}
}

// having are the commands that do something themselves and are of a kind, by the name
// they are called by.
func having(root *cobra.Command, is func(*cobra.Command) bool) (all []string) {
	for _, cmd := range root.Commands() {
		if cmd.HasSubCommands() {
			for _, name := range having(cmd, is) {
				all = append(all, cmd.Name()+" "+name)
			}
		} else if is(cmd) {
			all = append(all, cmd.Name())
		}
	}
	return all
}

// reads reports whether a command asks a cluster, and changes nothing of it that a
// rotation would.
func reads(cmd *cobra.Command) bool {
	return cmd.Flags().Lookup("concurrency") != nil && !writes(cmd)
}

// writes reports whether a command changes the cluster: it asks first, or is told not
// to. The wizard has a page for that instead of a flag.
func writes(cmd *cobra.Command) bool {
	return cmd.Flags().Lookup("yes") != nil || cmd.Flags().Lookup("confirm") != nil || cmd.Name() == "wizard"
}

// among is "a, b and c".
func among(names []string) string {
	n := len(names)
	if n < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
}

// pageWidth is that of a page of help.
const pageWidth = 88

// wrapped breaks a text into lines of a page.
func wrapped(text string) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > pageWidth {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return strings.Join(append(lines, line), "\n")
}
