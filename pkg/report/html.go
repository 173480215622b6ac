package report

import (
	_ "embed" // the page
	"html/template"
	"io"

	"github.com/meshca/kubectl-meshca/internal/plain"
)

//go:embed report.html.tmpl
var page string //nolint:gochecknoglobals // go:embed has no other place

// HTML writes the report as one file that needs no other: no script, and a policy
// that lets none run. html/template escapes everything by its place.
func (r *Report) HTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"plain": plain.Line, "stamp": stamp, "count": count,
		"state": Proxy.state, "trust": Proxy.trust, "evidence": Proxy.evidence, "kind": Gap.kind, "proxies": Gate.proxies,
	}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, struct {
		*Report
		Facts, Authorities, Counts []row
	}{r, r.facts(), r.authorities(), r.counts()})
}
