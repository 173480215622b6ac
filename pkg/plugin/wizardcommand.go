package plugin

import (
	"maps"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/tui"
)

// Command is the command line that does what a choice does, with the flags that the
// wizard was given itself, and what was accepted so far; a passphrase is never in it.
func (b *wizardBackend) Command(c tui.Choice) string {
	verb := "rotate"
	if c.Back {
		verb = "rollback"
	}
	words := append([]string{"kubectl", "meshca", verb}, b.flags...)
	add := func(flag, value string) {
		if value != "" {
			words = append(words, flag, quoted(value))
		}
	}
	accepted := b.accepts()
	for _, object := range slices.Sorted(maps.Keys(accepted)) {
		add("--accept", object+"="+accepted[object])
	}
	if c.Resume {
		return strings.Join(words, " ")
	}
	if c.Make {
		words = append(words, "--new-ca")
	}
	add("--root", c.Root)
	add("--ca-cert", c.Cert)
	add("--ca-key", c.Key)
	add("--chain", c.ChainFile)
	add("--old-root-key", c.OldRootKey)
	add("--strategy", string(strategyOf(c)))
	if c.Reason != tui.Reason(rotation.Expiring) {
		add("--reason", string(c.Reason))
	}
	to := c.Recipient
	if to == "" {
		to = passphraseWord // it asks for it
	}
	add("--seal-to", to)
	if c.Recipient != "" { // it was typed here
		add("--no-trial", tui.Ending(c.Recipient))
	}
	add("--sealed-file", c.SealedFile)
	return strings.Join(words, " ")
}
