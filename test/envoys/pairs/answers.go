package pairs

import (
	_ "embed" // the answers
	"fmt"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

//go:embed answers.txt
var answers string

// Sides are the two that an Envoy judges from.
func Sides() []pki.Usage { return []pki.Usage{pki.ClientAuth, pki.ServerAuth} }

// Question is what a judge is asked about a pair.
func (p Pair) Question(judge pki.Judge, usage pki.Usage, at time.Time) pki.Question {
	return pki.Question{Judge: judge, Roots: p.Bundle, Chain: p.Chain, At: at, Usage: usage, SPIFFE: p.SPIFFE}
}

// Answer is what real Envoys said of a pair of the table from one side, and what
// the verifier said then.
type Answer struct {
	All  bool // all of them accept
	Want pki.Result
}

// Answers are those on record, by the name of the pair and the side.
func Answers() (map[string]map[pki.Usage]Answer, error) {
	all := map[string]map[pki.Usage]Answer{}
	for line := range strings.Lines(answers) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Split(strings.TrimSpace(line), "\t")
		if len(words) != 1+2*len(Sides()) || all[words[0]] != nil {
			return nil, fmt.Errorf("answers.txt: %q", line)
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
