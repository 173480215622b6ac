package plugin

import (
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// carried names the flags of a command line that say which mesh it is about, and as whom
// it is asked. Whatever lets somebody in is left out, as in given; -n chooses rows alone.
func carried(name string) bool {
	switch name {
	case "kubeconfig", "context", "cluster", "user", "server", "tls-server-name", "insecure-skip-tls-verify",
		"certificate-authority", "client-certificate", "client-key", "as", "as-group", "as-uid", "as-user-extra",
		"istio-namespace", "revision", "mesh-root":
		return true
	}
	return false
}

// carry has every command that a text names be about the mesh that this command line is
// about: a hint that is copied must not go on with another cluster. Texts name commands
// as '...'.
func (c *cluster) carry(text string) string {
	if c == nil || c.running == nil {
		return text
	}
	flags := givenOf(c.running.Flags(), func(f *pflag.Flag) bool { return carried(f.Name) })
	if slices.ContainsFunc(flags, func(flag string) bool { return strings.Contains(text, flag) }) {
		return text // it is about this mesh already
	}
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "'kubectl ")
		command, after, closed := strings.Cut(rest, "'")
		if !ok || !closed {
			return out.String() + text
		}
		out.WriteString(before + "'" + c.again("kubectl "+command) + "'")
		text = after
	}
}

// again is a command line with those flags of this one that it takes.
func (c *cluster) again(line string) string {
	words := strings.Fields(line)
	if c == nil || c.running == nil || len(words) < 2 || slices.Contains(words, "--help") {
		return line
	}
	if words[1] != "meshca" { // before the verb: behind it there may be a --
		takes := c.flags.Namespace != nil && words[1] != "config" // which lists the contexts that there are
		flags := c.repeated(words, func(f *pflag.Flag) bool {
			return f.Name == "kubeconfig" || takes && c.running.Root().PersistentFlags().Lookup(f.Name) != nil
		})
		return strings.Join(slices.Concat(words[:1], flags, words[1:]), " ")
	}
	cmd, _, err := c.running.Root().Find(words[2:])
	if err != nil || asksNoCluster(cmd) {
		return line
	}
	_ = cmd.InheritedFlags() // has cobra add them to Flags
	flags := c.repeated(words, func(f *pflag.Flag) bool { return cmd.Flags().Lookup(f.Name) != nil })
	return strings.Join(append([]string{line}, flags...), " ")
}

// listed is a list of commands, each a line or continued on the next, as again has them.
func (c *cluster) listed(commands string) string {
	lines := strings.Split(commands, "\n")
	for i, line := range lines {
		if command, ok := strings.CutPrefix(line, "  kubectl "); ok {
			command, more := strings.CutSuffix(command, " \\")
			lines[i] = "  " + c.again("kubectl "+command)
			if more {
				lines[i] += " \\"
			}
		}
	}
	return strings.Join(lines, "\n")
}

// repeated are the flags of this command line that another takes and has not yet.
func (c *cluster) repeated(words []string, takes func(*pflag.Flag) bool) []string {
	return givenOf(c.running.Flags(), func(f *pflag.Flag) bool {
		has := slices.ContainsFunc(words, func(w string) bool {
			return w == "--"+f.Name || strings.HasPrefix(w, "--"+f.Name+"=") || f.Shorthand != "" && w == "-"+f.Shorthand
		})
		return carried(f.Name) && !has && takes(f)
	})
}

// asksNoCluster reports whether a command has nothing to do with one.
func asksNoCluster(cmd *cobra.Command) bool {
	for ; cmd != nil && cmd.HasParent(); cmd = cmd.Parent() {
		switch cmd.Name() {
		case "ca", "rbac", "demo", "completion", "version", "help":
			return true
		}
	}
	return cmd == nil
}

// carryFindings does so for the hints of findings.
func (c *cluster) carryFindings(all []check.Finding) {
	for i := range all {
		all[i].Hint = c.carry(all[i].Hint)
	}
}

// carryRules does so for what is known against releases.
func (c *cluster) carryRules(all []check.VersionRule) []check.VersionRule {
	all = slices.Clone(all) // they are everybody's
	for i := range all {
		all[i].Hint = c.carry(all[i].Hint)
	}
	return all
}

// carryRefusals does so for what forbids a plan, or is worth reading before it.
func (c *cluster) carryRefusals(all []rotation.Refusal) []rotation.Refusal {
	all = slices.Clone(all) // the plan's own go into the audit trail, for others to read
	for i := range all {
		all[i].Why, all[i].Hint = c.carry(all[i].Why), c.carry(all[i].Hint)
	}
	return all
}

// carryTexts does so for sentences.
func (c *cluster) carryTexts(all []string) []string {
	all = slices.Clone(all)
	for i := range all {
		all[i] = c.carry(all[i])
	}
	return all
}

// carryPlan is a plan as it is shown.
func (c *cluster) carryPlan(p *rotation.Plan) *rotation.Plan {
	if p == nil {
		return nil
	}
	shown := *p
	shown.Warnings, shown.Refusals = c.carryRefusals(p.Warnings), c.carryRefusals(p.Refusals)
	shown.Exposed, shown.Afterwards, shown.Outage = c.carryTexts(p.Exposed), c.carryTexts(p.Afterwards), c.carryTexts(p.Outage)
	return &shown
}

// carryManaged is one of a CA that cert-manager writes, as it is shown.
func (c *cluster) carryManaged(m *rotation.Managed) *rotation.Managed {
	if m == nil {
		return nil
	}
	shown := *m
	shown.Warnings, shown.Refusals, shown.Steps = c.carryRefusals(m.Warnings), c.carryRefusals(m.Refusals), c.carryTexts(m.Steps)
	return &shown
}
