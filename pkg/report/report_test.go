package report_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/report"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"pgregory.net/rapid"
)

// reportOf has text everywhere where a cluster, or somebody who rotates, can have any.
func reportOf(text string) *report.Report {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	brief := rotation.Brief{Subject: text, NotAfter: at}
	journal := &rotation.Journal{
		ID: text, Strategy: rotation.Strategy(text), Reason: rotation.Reason(text), Phase: rotation.Phase(text), Step: text, Holder: text,
		OldRoot: brief, NewRoot: brief, OldSigner: brief, NewSigner: brief, Sealed: text, Failure: text, Figures: &rotation.Figures{Engine: 1.5},
		Runs:       []rotation.JournalRun{{Holder: rotation.Holder{User: text}, Began: at}},
		Gates:      []rotation.JournalGate{{Phase: rotation.Phase(text), Step: text, At: at, By: text, Evidence: text}},
		Exceptions: []rotation.Exception{{Object: text, Why: text, Reason: text, By: text, At: at, Phase: rotation.Phase(text)}},
		Restarts:   []rotation.JournalRestart{{At: at, Phase: rotation.Phase(text), Object: text}},
	}
	return &report.Report{
		At: at, Source: text, Cluster: text, Namespace: text, Verdict: text, Rotation: journal, Gates: report.GatesOf(journal),
		Roots: []report.Certificate{{Subject: text, NotAfter: at}}, Status: rotation.Status{Evidence: text},
		Classes: []check.Class{{Name: text}}, Refused: []check.Pair{{Client: text, Server: text, Answer: pki.Answer{Reason: text}}},
		Proxies:   []report.Proxy{{Namespace: text, Name: text, Why: text, Evidence: text, Serial: text, Issuer: text, Roots: []rotation.Brief{brief}}},
		NotProven: []report.Gap{{Object: text, Why: text, Unknown: true}},
	}
}

type fatal interface{ Fatal(args ...any) }

func render(t fatal, r *report.Report) (markdown, html string) {
	var m, h bytes.Buffer
	if err := r.Markdown(&m); err != nil {
		t.Fatal(err)
	}
	if err := r.HTML(&h); err != nil {
		t.Fatal(err)
	}
	return m.String(), h.String()
}

// TestNothingOfTheClusterIsMarkup: whatever a name holds, the page has the elements
// and the lines that it has for a harmless one.
func TestNothingOfTheClusterIsMarkup(t *testing.T) {
	tags := regexp.MustCompile(`<[a-zA-Z/!][^>]*>`)
	escaped := regexp.MustCompile(`\\.`)
	plainly, page := render(t, reportOf("x"))
	lines, elements := strings.Count(plainly, "\n"), len(tags.FindAllString(page, -1))
	cells := strings.Count(plainly, "|")
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "|", "\n# head", "\r\n| a |", "`", "\\", "\x1b]0;x\a", "\u202e", "{{.}}", "https://evil.example", "www.evil.example", "![x](y)", "<!--", "</table>", "1. a", "- b", "&lt;",
		})), 1, 6).Draw(t, "text")
		markdown, html := render(t, reportOf(strings.Join(parts, "")+"x"))
		if n := strings.Count(markdown, "\n"); n != lines {
			t.Fatalf("%d lines, not %d:\n%s", n, lines, markdown)
		}
		if n := strings.Count(markdown, "|") - strings.Count(markdown, `\|`); n != cells {
			t.Fatalf("%d cells, not %d:\n%s", n, cells, markdown)
		}
		if n := len(tags.FindAllString(html, -1)); n != elements {
			t.Fatalf("%d elements, not %d:\n%s", n, elements, html)
		}
		for _, text := range []string{markdown, html} {
			if strings.ContainsAny(text, "\x1b\a\u202e") {
				t.Fatalf("a control character is in it: %q", text)
			}
		}
		bare := escaped.ReplaceAllString(markdown, "")
		for _, open := range []string{"<", "[", "`", "*", "_", "~", "&", "https://", "www."} {
			if strings.Contains(bare, open) {
				t.Fatalf("%q begins an element:\n%s", open, markdown)
			}
		}
	})
}

// TestGatesOf: what a phase has had is said once, at its first gate.
func TestGatesOf(t *testing.T) {
	gates := report.GatesOf(&rotation.Journal{
		Gates:      []rotation.JournalGate{{Phase: rotation.SignNew, Step: "signer"}, {Phase: rotation.SignNew, Step: "leaves"}, {Phase: rotation.DistrustOld}},
		Exceptions: []rotation.Exception{{Object: "a/b", Phase: rotation.SignNew}},
		Restarts:   []rotation.JournalRestart{{Object: "istiod", Phase: rotation.DistrustOld}},
	})
	if len(gates) != 3 || len(gates[0].Exceptions) != 1 || len(gates[1].Exceptions) != 0 || len(gates[2].Restarts) != 1 {
		t.Errorf("%+v", gates)
	}
	if report.GatesOf(nil) != nil {
		t.Error("there are gates of nothing")
	}
}
