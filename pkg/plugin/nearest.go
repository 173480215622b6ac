package plugin

import (
	"strings"

	"github.com/spf13/cobra"
)

// farthest is by how many letters a word may miss a command and still be taken for it.
const farthest = 2

// nearest asks whether another command was meant, as kubectl does; "" where none is near.
func nearest(cmd *cobra.Command, word string) string {
	cmd.SuggestionsMinimumDistance = farthest
	names := cmd.SuggestionsFor(word)
	if len(names) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(names, " or ") + "? Else "
}
