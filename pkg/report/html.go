package report

import (
	_ "embed" // the page's head
	"html"
	"io"
	"strings"

	"github.com/meshca/kubectl-meshca/internal/plain"
)

//go:embed head.html
var head string //nolint:gochecknoglobals // go:embed has no other place

// HTML writes the report as one file that needs no other: no script, and a policy that
// lets none run. What the cluster says stands between tags alone, where html.EscapeString
// suffices. html/template is not used: it calls methods by name, so that the linker keeps
// every method of every type of client-go, and the program is twice as large.
func (r *Report) HTML(w io.Writer) error {
	var b strings.Builder
	b.WriteString(head)
	line := liner(&b, func(s string) string { return html.EscapeString(plain.Line(s)) })
	rows := func(all []row) {
		line("<table>")
		for _, one := range all {
			line(`<tr><th scope="row">%s</th><td>%s</td></tr>`, one.Name, one.Text)
		}
		line("</table>")
	}
	if r.Verified {
		line(`<p class="good">✓ %s</p>`, r.Verdict)
	} else {
		line(`<p class="bad">✗ %s</p>`, r.Verdict)
	}
	rows(r.facts())
	if authorities := r.authorities(); len(authorities) > 0 {
		line("<h2>Certificates</h2>")
		rows(authorities)
	}
	if r.Rotation != nil {
		line(`<h2>Gates that have opened</h2>`)
		line(`<div class="wide"><table><tr><th>phase</th><th>step</th><th>at</th><th>by</th><th>proxies</th><th>istiods</th><th>ConfigMaps</th><th>webhooks</th><th>evidence</th></tr>`)
		for _, g := range r.Gates {
			line("<tr><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>",
				g.Phase, g.Step, stamp(g.At), g.By, g.proxies(), count(g.Replicas), count(g.ConfigMaps), count(g.Webhooks), g.Evidence)
			for _, x := range g.Exceptions {
				line(`<tr><td></td><td colspan="8">! %s was unknown (%s) and accepted by %s at %s: %s</td></tr>`, x.Object, x.Why, x.By, stamp(x.At), x.Reason)
			}
			for _, s := range g.Restarts {
				line(`<tr><td></td><td colspan="8">%s was restarted at %s</td></tr>`, s.Object, stamp(s.At))
			}
		}
		line("</table></div>\n<p>%s unknown objects were accepted by name.</p>", len(r.Rotation.Exceptions))
	}
	line("<h2>The mesh as it was read</h2>")
	rows(r.counts())
	line("<h3>Expected roots</h3>\n<ul>")
	for _, c := range r.Roots {
		line(`<li>%s, until %s <span class="mono">%s</span></li>`, c.Subject, stamp(c.NotAfter), c.Fingerprint)
	}
	line("</ul>\n<h2>Not proven</h2>")
	r.gaps(line)
	line("<h2>Proxies</h2>")
	line(`<div class="wide"><table><tr><th>proxy</th><th>state</th><th>serial</th><th>not before</th><th>not after</th><th>issuer</th><th>roots</th><th>evidence</th></tr>`)
	for _, p := range r.Proxies {
		mark := "✗"
		if p.Proven {
			mark = "✓"
		}
		line(`<tr><td>%s/%s</td><td>%s %s</td><td class="mono">%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>`,
			p.Namespace, p.Name, mark, p.state(), p.Serial, stamp(p.NotBefore), stamp(p.NotAfter), p.Issuer, p.trust(), p.evidence())
	}
	line("</table></div>\n</body>\n</html>")
	_, err := io.WriteString(w, b.String())
	return err
}

// gaps lists what is not proven.
func (r *Report) gaps(line func(format string, args ...any)) {
	if len(r.NotProven) == 0 {
		line("<p>✓ Nothing that was looked for is unproven.</p>")
		return
	}
	line("<ul>")
	for _, g := range r.NotProven {
		mark := "✗"
		if g.Unknown {
			mark = "?"
		}
		line("<li>%s %s: %s: %s</li>", mark, g.kind(), g.Object, g.Why)
	}
	line("</ul>")
}
