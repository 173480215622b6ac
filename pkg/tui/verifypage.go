package tui

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// verifyPage is the proof: who publishes and trusts what, and which class of
// proxies would accept which.
type verifyPage struct {
	items
	proof *Proof
}

func newVerifyPage(c common) *verifyPage { return &verifyPage{items: items{common: c}} }

func (p *verifyPage) look(l *Look) {
	p.proof = &l.Proof
	s := l.Proof.Status
	var all []item
	add := func(i item) { all = append(all, i) }
	if l.Proof.Error != "" {
		add(item{symbol: symbolUnknown, text: l.Proof.Error})
	}
	count := func(what string, c rotation.Count, detail ...string) {
		if c.Of == 0 && s.Secrets.Of > 0 {
			return // a mesh with a Citadel has none
		}
		add(item{symbol: proven(c), text: fmt.Sprintf("%-18s %d of %d", what, c.Ready, c.Of), detail: detail})
	}
	signers := "istiods"
	if s.Secrets.Of > 0 {
		signers = "Citadels"
		count("workload Secrets", s.Secrets)
	}
	count(signers, s.Replicas, "evidence: "+s.Evidence)
	count("trust ConfigMaps", s.ConfigMaps)
	count("webhooks", s.Webhooks)
	count("proxies", s.Proxies, namespaces(s)...)
	for _, root := range l.Proof.Roots {
		add(item{symbol: symbolNote, text: "expected root      " + root})
	}
	for _, b := range s.Blockers {
		add(blockerItem(b))
	}
	if len(l.Proof.Classes) > 0 {
		add(item{text: "who accepts whom: rows call columns"})
		for _, line := range matrix(l.Proof) {
			add(line)
		}
	}
	p.set(all)
}

func proven(c rotation.Count) string {
	switch {
	case c.Of == 0:
		return symbolUnknown
	case c.Ready < c.Of:
		return symbolBad
	}
	return symbolGood
}

func namespaces(s rotation.Status) []string {
	var lines []string
	for _, n := range s.Namespaces {
		lines = append(lines, fmt.Sprintf("%s: %d of %d, unreadable %d", n.Namespace, n.Ready, n.Proxies, n.Unreadable))
	}
	return lines
}

func blockerItem(b rotation.Blocker) item {
	i := item{symbol: symbolBad, text: b.String()}
	if b.Unknown {
		i.symbol = symbolUnknown
		i.detail = []string{"Unknown is never yes: it has to be read, to be gone, or to be accepted by name."}
	}
	return i
}

// maxClasses bounds the square that is drawn; more are told in words.
const maxClasses = 12

// matrix draws classes against classes: a line each, with its proxies behind it.
func matrix(p Proof) []item {
	answers := map[[2]string]pki.Answer{}
	by := map[[2]string]string{}
	for _, pair := range p.Pairs {
		answers[[2]string{pair.Client, pair.Server}], by[[2]string{pair.Client, pair.Server}] = pair.Answer, pair.By
	}
	classes := p.Classes
	if len(classes) > maxClasses {
		classes = classes[:maxClasses]
	}
	head := strings.Repeat(" ", 4)
	for _, c := range classes {
		head += right(c.Name, 3)
	}
	all := []item{{symbol: symbolNote, text: head + "   proxies  what, signed by / trusts"}}
	for _, client := range classes {
		row, worst := fit(client.Name, 4), symbolGood
		detail := []string{client.About(), "proxies: " + strings.Join(client.Proxies[:min(len(client.Proxies), 30)], " ")}
		for _, server := range classes {
			k := [2]string{client.Name, server.Name}
			cell := verdict(answers[k])
			row += right(cell, 3)
			if cell != symbolGood {
				worst = cell
				detail = append(detail, fmt.Sprintf("%s %s calls %s: the %s says: %s", cell, client.Name, server.Name, by[k], answers[k].Reason))
			}
		}
		all = append(all, item{symbol: worst, text: row + right(fmt.Sprint(len(client.Proxies)), 10) + "  " + string(client.Kind) + ", " + client.Signer + " / " + strings.Join(client.Trusts, ", "), detail: detail})
	}
	if more := len(p.Classes) - len(classes); more > 0 {
		all = append(all, item{symbol: symbolNote, text: fmt.Sprintf("and %d more classes: 'kubectl meshca verify -o wide' lists them", more)})
	}
	return all
}

func verdict(a pki.Answer) string {
	switch a.Result {
	case pki.Accepted:
		return symbolGood
	case pki.Refused:
		return symbolBad
	}
	return symbolUnknown
}

func refused(pairs []check.Pair) int {
	n := 0
	for _, p := range pairs {
		if p.Answer.Result != pki.Accepted {
			n++
		}
	}
	return n
}

func (p *verifyPage) facts() []fact {
	if p.proof == nil {
		return []fact{{"Now", "Reading the mesh. Nothing is changed."}}
	}
	found := fmt.Sprintf("Not proven: %d in the way.", len(p.proof.Status.Blockers))
	if n := refused(p.proof.Pairs); n > 0 {
		found = fmt.Sprintf("Not proven: %d in the way, and of %s %d would not be accepted.", len(p.proof.Status.Blockers), plural(len(p.proof.Pairs), "pair")+" of classes", n)
	}
	if p.proof.Proven {
		of := p.proof.Status.Counts()
		if len(p.proof.Classes) > 0 {
			of = plural(len(p.proof.Classes), "class") + ", " + plural(len(p.proof.Pairs), "pair")
		}
		found = fmt.Sprintf("Proven: %s (%s).", p.proof.Status.Proves(len(p.proof.Classes) > 0), of)
	}
	return []fact{{"Found", found}, {"Next", "See what each Envoy has loaded. Press tab for Envoy."}, {"Cost", "None: it only reads."}, {"Stop", "Nothing is changed by looking."}}
}

func (p *verifyPage) mark() string {
	switch {
	case p.proof == nil:
		return ""
	case p.proof.Proven:
		return symbolGood
	case p.proof.Error != "":
		return symbolUnknown
	}
	for _, b := range p.proof.Status.Blockers {
		if !b.Unknown {
			return symbolBad
		}
	}
	if refused(p.proof.Pairs) > 0 {
		return symbolBad
	}
	return symbolUnknown
}

func (p *verifyPage) update(m tea.Msg) tea.Cmd { p.items.update(m); return nil }
func (p *verifyPage) typing() bool             { return false }
func (p *verifyPage) keys() []key.Binding {
	return p.items.keys()
}
