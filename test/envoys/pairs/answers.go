package pairs

import (
	_ "embed" // the answers
	"fmt"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

var (
	//go:embed answers.txt
	envoyAnswers string
	//go:embed webpki.txt
	webpkiAnswers string
)

// Sides are the two that a proxy judges from.
func Sides() []pki.Usage { return []pki.Usage{pki.ClientAuth, pki.ServerAuth} }

// Question is what a judge is asked about a pair. rustls-webpki knows no SPIFFE
// IDs: ztunnel compares them by itself.
func (p Pair) Question(judge pki.Judge, usage pki.Usage, at time.Time) pki.Question {
	q := pki.Question{Judge: judge, Roots: p.Bundle, Chain: p.Chain, At: at, Usage: usage, SPIFFE: p.SPIFFE, CRLs: pki.ParseCRLs(p.CRLs)}
	switch {
	case judge == pki.Webpki:
		q.SPIFFE = ""
	case p.Domain != "" && judge == pki.Envoy:
		q.Roots, q.Domains = nil, []pki.Domain{{Name: p.Domain, Roots: p.Bundle}}
	}
	return q
}

// Answer is what the real judges said of a pair of the table from one side, and
// what the verifier said then.
type Answer struct {
	All  bool // all of them accept
	Want pki.Result
}

// Answers are those of a judge that are on record, by the name of the pair and the
// side: real Envoys' and the real rustls-webpki's.
func Answers(judge pki.Judge) (map[string]map[pki.Usage]Answer, error) {
	text, ok := map[pki.Judge]string{pki.Envoy: envoyAnswers, pki.Webpki: webpkiAnswers}[judge]
	if !ok {
		return nil, fmt.Errorf("no answers of %s are on record", judge)
	}
	all := map[string]map[pki.Usage]Answer{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Split(strings.TrimSpace(line), "\t")
		if len(words) != 1+2*len(Sides()) || all[words[0]] != nil {
			return nil, fmt.Errorf("answers of %s: %q", judge, line)
		}
		all[words[0]] = map[pki.Usage]Answer{}
		for i, usage := range Sides() {
			said := strings.Fields(words[1+2*i])
			a := Answer{All: len(said) > 0, Want: pki.Result(words[2+2*i])}
			for _, word := range said {
				a.All = a.All && word == "yes"
			}
			all[words[0]][usage] = a
		}
	}
	return all, nil
}
