package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// told is an Event as far as it tells of decisions, or a Plan that was refused.
type told struct {
	Document string `json:"kind"`
	Kind     string `json:"event"`
	Phase    string
	Step     string
	Object   string
	Message  string
	Gate     *gate
	Plan     *plan
	Figures  *struct {
		Istiods   int `json:"istiodRestarts"`
		Workloads int `json:"workloadRestarts"`
	}
}

type plan struct {
	Strategy                               string
	Adopts, AlreadyDone                    bool
	Namespace, Secret, Layout              string
	OldRoot, NewRoot, OldSigner, NewSigner struct{ Fingerprint string }
	Kept                                   []struct{ Fingerprint string }
	Options                                []struct {
		Strategy string
		Possible bool
	}
	Steps, Back        []step
	Refusals, Warnings []struct{ ID, Object string }
}

type step struct {
	Phase, Name, Signs, Waves string
	Roots, Chain              []byte
	Restart, FileWait         bool
}

type gate struct {
	Blockers, Accepted []blocker
	Namespaces         []struct {
		Namespace      string
		Proxies, Ready int
	}
	Replicas, ConfigMaps, Webhooks, Proxies, Secrets struct{ Ready, Of int }
	Listed                                           bool `json:"proxiesListedOnly"`
	Evidence                                         string
}

type blocker struct {
	Kind, Object string
	Unknown      bool
}

func events(text []byte) (all []told) {
	for line := range strings.Lines(string(text)) {
		var t told
		if json.Unmarshal([]byte(line), &t) != nil {
			continue
		}
		if t.Document == "Plan" {
			t.Kind, t.Plan = "refused", &plan{}
			_ = json.Unmarshal([]byte(line), t.Plan) // it has parsed before
		}
		all = append(all, t)
	}
	return all
}

func endOf(text []byte) string {
	all := events(text)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1].Kind
}

// secondRun are the Events from the second plan on.
func secondRun(text []byte) []byte {
	plans, at := 0, 0
	for line := range strings.Lines(string(text)) {
		if all := events([]byte(line)); len(all) == 1 && all[0].Plan != nil {
			if plans++; plans == 2 {
				return text[at:]
			}
		}
		at += len(line)
	}
	return nil
}

// decisions is what a run has decided, in order, a line for each: the plan, the writes with their bundles by role, the restarts, who stood
// at each gate when it opened or was given up, and the end.
//
// Left out is what is no decision of the run: times and what was seen while a gate was still closed; pushes to stragglers, for whether one
// lags by four seconds is a matter of time; real traffic, istiod's log and the sealed copy, which a snapshot has not got.
func decisions(text []byte) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	var p plan
	var last *gate // the gate that is closed
	nudged := false
	restarted := map[string]bool{}
	for _, t := range events(text) {
		if t.Kind == "passed" || t.Kind == "failed" {
			if len(restarted) > 0 {
				say("  restarted once: %s", strings.Join(slices.Sorted(maps.Keys(restarted)), ", "))
			}
			clear(restarted)
			nudged = false
		}
		switch t.Kind {
		case "plan", "refused":
			p = *t.Plan
			lines = append(lines, p.lines()...)
		case "phase":
			say("phase %s (%s)", t.Phase, t.Step)
		case "write":
			if nudged || !strings.Contains(t.Object, " ") { // a file is the sealed copy
				continue
			}
			say("  wrote %s%s", t.Object, p.bundle(t))
		case "nudge":
			nudged = true
		case "restart":
			say("  restarts %s", t.Object)
		case "workload":
			if strings.Contains(t.Message, " restarted") {
				restarted[t.Object] = true
			}
		case "wait":
			if strings.Contains(t.Message, "copy of the trust ConfigMap") {
				say("  waits for files")
			}
		case "gate":
			last = t.Gate
		case "passed":
			say("  open (%s): %s", t.Step, t.Gate)
			last = nil
		case "accepted", "resume", "paused", "resumed":
			say("  %s %s", t.Kind, t.Object)
		case "failed":
			if last != nil {
				say("  closed (%s): %s", t.Step, last.blocked())
			}
			say("failed in %s", t.Phase)
		case "done", "stopped", "rolled-back":
			say("%s after %s: %d istiods and %d pods restarted", t.Kind, t.Phase, t.Figures.Istiods, t.Figures.Workloads)
		}
	}
	return lines
}

func (p plan) lines() []string {
	head := fmt.Sprintf("plan %s of %s/%s (%s)", p.Strategy, p.Namespace, p.Secret, p.Layout)
	if p.Adopts {
		head += ", adopts"
	}
	if p.AlreadyDone {
		head += ", done already"
	}
	lines := []string{head}
	for _, o := range p.Options {
		lines = append(lines, fmt.Sprintf("  %s possible: %t", o.Strategy, o.Possible))
	}
	for _, s := range p.Steps {
		lines = append(lines, fmt.Sprintf("  step %s (%s): signed by the %s CA, roots %s, chain %s, istiod restarts %t, workloads %q, waits for files %t",
			s.Phase, s.Name, s.Signs, p.roles(s.Roots), p.roles(s.Chain), s.Restart, s.Waves, s.FileWait))
	}
	for _, r := range p.Warnings {
		lines = append(lines, "  warns of "+r.ID)
	}
	for _, r := range p.Refusals {
		lines = append(lines, "  refused: "+r.ID+" "+r.Object)
	}
	return lines
}

// bundle is what a write has brought, by the plan's step.
func (p plan) bundle(t told) string {
	for _, s := range slices.Concat(p.Steps, p.Back) {
		if s.Phase == t.Phase && s.Name == t.Step && strings.HasSuffix(t.Object, p.Namespace+"/"+p.Secret) {
			return fmt.Sprintf(": roots %s, chain %s", p.roles(s.Roots), p.roles(s.Chain))
		}
	}
	return ""
}

// roles names the certificates of a bundle by what they are to the rotation.
func (p plan) roles(bundle []byte) string {
	names := map[string]string{p.NewSigner.Fingerprint: "new signer", p.OldSigner.Fingerprint: "old signer", p.NewRoot.Fingerprint: "new root", p.OldRoot.Fingerprint: "old root"}
	for i, k := range p.Kept {
		names[k.Fingerprint] = fmt.Sprintf("kept root %d", i+1)
	}
	var all []string
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			return "[" + strings.Join(all, ", ") + "]"
		}
		sum := sha256.Sum256(block.Bytes)
		name, ok := names[hex.EncodeToString(sum[:])]
		if !ok {
			name = "another"
		}
		all = append(all, name)
	}
}

func (g *gate) String() string {
	ratio := func(c struct{ Ready, Of int }) string { return fmt.Sprintf("%d of %d", c.Ready, c.Of) }
	var parts []string
	for _, n := range g.Namespaces {
		parts = append(parts, fmt.Sprintf("%s %d of %d", n.Namespace, n.Ready, n.Proxies))
	}
	text := fmt.Sprintf("istiods %s (%s), ConfigMaps %s, webhooks %s, proxies %s (%s), only listed %t", ratio(g.Replicas), g.Evidence, ratio(g.ConfigMaps), ratio(g.Webhooks), ratio(g.Proxies), strings.Join(parts, ", "), g.Listed)
	if len(g.Accepted) > 0 {
		text += ", accepted " + names(g.Accepted)
	}
	return text
}

func (g *gate) blocked() string { return names(g.Blockers) }

func names(all []blocker) string {
	var parts []string
	for _, b := range all {
		text := b.Kind + " " + b.Object
		if b.Unknown {
			text += " (unknown)"
		}
		parts = append(parts, text)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// differences are the lines that only one of two timelines has, each with the line before, "" where they are the same.
func differences(there, here []string) string {
	// longest[i][j] is how many lines there[i:] and here[j:] have in common.
	longest := make([][]int, len(there)+1)
	for i := range longest {
		longest[i] = make([]int, len(here)+1)
	}
	for i := len(there) - 1; i >= 0; i-- {
		for j := len(here) - 1; j >= 0; j-- {
			if longest[i][j] = max(longest[i+1][j], longest[i][j+1]); there[i] == here[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			}
		}
	}
	var out strings.Builder
	common := ""
	line := func(mark, text string) {
		if common != "" {
			fmt.Fprintln(&out, "  "+common)
			common = ""
		}
		fmt.Fprintln(&out, mark+" "+text)
	}
	i, j := 0, 0
	for i < len(there) || j < len(here) {
		switch {
		case i < len(there) && j < len(here) && there[i] == here[j]:
			common = there[i]
			i, j = i+1, j+1
		case j == len(here) || i < len(there) && longest[i+1][j] >= longest[i][j+1]:
			line("-", there[i])
			i++
		default:
			line("+", here[j])
			j++
		}
	}
	return strings.TrimSuffix(out.String(), "\n")
}
