package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/meshca/kubectl-meshca/internal/plain"
)

// Markdown writes the report for a ticket: CommonMark with tables. Text of the
// cluster is escaped, so that it is text whatever it holds.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	line := liner(&b, escape)
	rows := func(all []row) {
		line("\n| | |\n|---|---|")
		for _, one := range all {
			line("| %s | %s |", one.Name, one.Text)
		}
	}
	line("# Mesh CA report")
	rows(r.facts())
	if authorities := r.authorities(); len(authorities) > 0 {
		line("\n## Certificates")
		rows(authorities)
	}
	if r.Rotation != nil {
		line("\n## Gates that have opened\n\n| phase | step | at | by | proxies | istiods | ConfigMaps | webhooks | evidence |\n|---|---|---|---|---|---|---|---|---|")
		for _, g := range r.Gates {
			line("| %s | %s | %s | %s | %s | %s | %s | %s | %s |", g.Phase, g.Step, stamp(g.At), g.By, g.proxies(), count(g.Replicas), count(g.ConfigMaps), count(g.Webhooks), g.Evidence)
		}
		line("\n## Exceptions and restarts\n")
		for _, g := range r.Gates {
			for _, x := range g.Exceptions {
				line("- %s: %s was unknown (%s) and accepted by %s at %s: %s", x.Phase, x.Object, x.Why, x.By, stamp(x.At), x.Reason)
			}
			for _, s := range g.Restarts {
				line("- %s: %s was restarted at %s", s.Phase, s.Object, stamp(s.At))
			}
		}
		line("- accepted over all: %s", len(r.Rotation.Exceptions))
	}
	line("\n## The mesh as it was read")
	rows(r.counts())
	line("\nExpected roots:\n")
	for _, c := range r.Roots {
		line("- %s, until %s, sha256 %s", c.Subject, stamp(c.NotAfter), c.Fingerprint)
	}
	line("\n## Not proven\n")
	for _, g := range r.NotProven {
		line("- %s: %s: %s", g.kind(), g.Object, g.Why)
	}
	if len(r.NotProven) == 0 {
		line("Nothing that was looked for is unproven.")
	}
	line("\n## Proxies\n\n| proxy | state | serial | not before | not after | issuer | roots | evidence |\n|---|---|---|---|---|---|---|---|")
	for _, p := range r.Proxies {
		line("| %s | %s | %s | %s | %s | %s | %s | %s |", p.Namespace+"/"+p.Name, p.state(), p.Serial, stamp(p.NotBefore), stamp(p.NotAfter), p.Issuer, p.trust(), p.evidence())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// liner writes lines of a format, with all that is put into them escaped.
func liner(b *strings.Builder, escape func(string) string) func(format string, args ...any) {
	return func(format string, args ...any) {
		escaped := make([]any, len(args))
		for i, a := range args {
			escaped[i] = escape(fmt.Sprint(a))
		}
		fmt.Fprintf(b, format+"\n", escaped...)
	}
}

// escape makes text that somebody else chose one line of plain text in Markdown:
// what begins an element is escaped, also what makes a link of an address.
func escape(s string) string {
	s = strings.TrimSpace(plain.Line(s))
	var b strings.Builder
	for i, r := range s {
		switch {
		case strings.ContainsRune("\\`*_{}[]<>#|~&@!$", r),
			r == ':' && strings.HasPrefix(s[i:], "://"),
			r == '.' && strings.HasSuffix(strings.ToLower(s[:i]), "www"),
			strings.ContainsRune("+-=", r) && i == 0,
			strings.ContainsRune(".)", r) && i > 0 && strings.Trim(s[:i], "0123456789") == "" && !strings.ContainsAny(s[i+1:min(i+2, len(s))], "0123456789"):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
