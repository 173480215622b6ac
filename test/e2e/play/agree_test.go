package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
)

func bundleOf(names ...string) string {
	var text []byte
	for _, n := range names {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(n)})...)
	}
	return base64.StdEncoding.EncodeToString(text)
}

// told is a run as the product tells it, with certificates of this name.
func toldBy(name string) string {
	print := func(of string) string {
		sum := sha256.Sum256([]byte(name + of))
		return `{"fingerprint":"` + hex.EncodeToString(sum[:]) + `"}`
	}
	line := func(event, phase, step, more string) string {
		return fmt.Sprintf(`{"apiVersion":"meshca.io/v1alpha1","kind":"Event","time":"2026-01-01T00:00:00Z","event":%q,"phase":%q,"step":%q%s}`, event, phase, step, more) + "\n"
	}
	plan := fmt.Sprintf(`,"plan":{"id":%q,"strategy":"hot-bundle","namespace":"istio-system","secret":"cacerts","layout":"cacerts","oldRoot":%s,"newRoot":%s,"oldSigner":%s,"newSigner":%s,`+
		`"options":[{"strategy":"hot-bundle","possible":true,"why":"flags"},{"strategy":"cross-sign","possible":false,"why":"no key"}],`+
		`"steps":[{"phase":"trust-new","name":"both roots","signs":"old","roots":%q,"fileWait":true},{"phase":"distrust-old","name":"new root","signs":"new","roots":%q,"chain":%q,"waves":"lagging"}],`+
		`"warnings":[{"id":"skew","object":"clock"}]}`,
		name, print("old"), print("new"), print("old-signer"), print("new-signer"), bundleOf(name+"old", name+"new"), bundleOf(name+"new"), bundleOf(name+"new-signer"))
	gate := func(ready int, more string) string {
		return fmt.Sprintf(`,"gate":{"namespaces":[{"namespace":"a","proxies":2,"ready":%d}],"replicas":{"ready":2,"of":2},"configMaps":{"ready":3,"of":3},"webhooks":{"ready":4,"of":4},"proxies":{"ready":%d,"of":2},"evidence":"answer"%s}`, ready, ready, more)
	}
	return line("plan", "prepare", "", plan) + line("phase", "trust-new", "both roots", "") +
		line("write", "prepare", "", `,"object":"secret istio-system/meshca-staged"`) + line("write", "prepare", "", `,"object":"/tmp/`+name+`.age"`) +
		line("write", "trust-new", "both roots", `,"object":"secret istio-system/cacerts","message":"both roots"`) +
		line("restart", "trust-new", "both roots", `,"object":"deployment istio-system/istiod"`) +
		line("gate", "trust-new", "both roots", gate(1, `,"blockers":[{"kind":"proxy","object":"a/x","why":"lags"}]`)) +
		line("workload", "trust-new", "both roots", `,"object":"deployment a/x","message":"wave 1 of 1: deployment a/x restarted"`) +
		line("passed", "trust-new", "both roots", gate(2, "")) +
		line("done", "done", "", `,"figures":{"engineSeconds":7.5,"istiodRestarts":2,"workloadRestarts":1}`)
}

// What two meshes cannot share is no disagreement: their keys, the time, what was seen before a gate opened, a push to stragglers.
func TestDecisionsAlike(t *testing.T) {
	here := toldBy("here")
	there := strings.NewReplacer("2026-01-01", "2027-02-02", "7.5", "70").Replace(toldBy("there"))
	lines := strings.SplitAfter(there, "\n")
	for i, l := range lines {
		if strings.Contains(l, `"event":"workload"`) {
			nudge := `{"kind":"Event","event":"nudge","phase":"trust-new","step":"both roots","message":"stragglers"}` + "\n"
			write := `{"kind":"Event","event":"write","phase":"trust-new","step":"both roots","object":"secret istio-system/cacerts"}` + "\n"
			lines[i] = nudge + write + write + l
		}
	}
	if diff := differences(decisions([]byte(here)), decisions([]byte(strings.Join(lines, "")))); diff != "" {
		t.Errorf("they are the same:\n%s", diff)
	}
	if n := len(decisions([]byte(here))); n < 12 {
		t.Errorf("only %d decisions are seen: %q", n, decisions([]byte(here)))
	}
}

// Each decision that is another one is seen, and shown.
func TestDisagreementIsRed(t *testing.T) {
	here := toldBy("here")
	for name, change := range map[string][2]string{
		"strategy":          {`"strategy":"hot-bundle","namespace"`, `"strategy":"cross-sign","namespace"`},
		"option":            {`"strategy":"cross-sign","possible":false`, `"strategy":"cross-sign","possible":true`},
		"warning":           {`"id":"skew"`, `"id":"other"`},
		"phase":             {`"event":"phase","phase":"trust-new"`, `"event":"phase","phase":"sign-new"`},
		"order of a bundle": {bundleOf("hereold", "herenew"), bundleOf("herenew", "hereold")},
		"a root more":       {`"roots":"` + bundleOf("herenew"), `"roots":"` + bundleOf("herenew", "hereold")},
		"object written":    {`"event":"write","phase":"trust-new","step":"both roots","object":"secret istio-system/cacerts"`, `"event":"write","phase":"trust-new","step":"both roots","object":"secret istio-system/other"`},
		"no write":          {`"event":"write","phase":"trust-new"`, `"event":"-","phase":"trust-new"`},
		"no restart":        {`"event":"restart"`, `"event":"-"`},
		"other workload":    {`"object":"deployment a/x","message"`, `"object":"deployment a/y","message"`},
		"wait for files":    {`"fileWait":true`, `"fileWait":false`},
		"who was proven":    {`"proxies":2,"ready":2`, `"proxies":2,"ready":1`},
		"webhooks":          {`"ready":4,"of":4`, `"ready":5,"of":5`},
		"evidence":          {`"answer"`, `"what is served"`},
		"end":               {`"event":"done"`, `"event":"stopped"`},
		"istiods restarted": {`"istiodRestarts":2`, `"istiodRestarts":4`},
		"given up": {`"event":"passed","phase":"trust-new","step":"both roots"`,
			`"event":"failed","phase":"trust-new","step":"both roots","message":"closed"`},
	} {
		there := strings.Replace(here, change[0], change[1], 1)
		if name == "who was proven" || name == "webhooks" || name == "evidence" {
			there = strings.ReplaceAll(here, change[0], change[1])
		}
		if there == here {
			t.Errorf("%s: nothing is planted", name)
		}
		diff := differences(decisions([]byte(here)), decisions([]byte(there)))
		if !strings.Contains(diff, "- ") && !strings.Contains(diff, "+ ") {
			t.Errorf("%s: the disagreement is not seen", name)
		}
	}
}

// Who keeps a gate closed at the end of a run is compared, and why is not.
func TestClosedGate(t *testing.T) {
	closed := func(object, why string) []string {
		return decisions([]byte(`{"kind":"Event","event":"gate","gate":{"blockers":[{"kind":"proxy","object":"` + object + `","why":"` + why + `"}]}}
{"kind":"Event","event":"failed","phase":"sign-new","step":"leaves"}
`))
	}
	if diff := differences(closed("a/x", "its certificate is old"), closed("a/x", "12 minutes to go")); diff != "" {
		t.Error(diff)
	}
	if differences(closed("a/x", "old"), closed("a/y", "old")) == "" {
		t.Error("another proxy is in the way, and that is not seen")
	}
}

func TestRehearsalOfALine(t *testing.T) {
	a := agreement{}
	rotate := []string{"rotate", "--root", "b", "--yes", "--traffic-baseline", "2s", "--timeout", "8m", "--trust-file-wait", "0", "-o", "json", "--until", "trust-new"}
	for _, one := range []struct {
		args []string
		end  string
		want string
	}{
		{[]string{"rollback", "--yes"}, "", "it goes on with what was begun elsewhere"},
		{rotate, "stopped", "--from-snapshot S -o events --root b --timeout 8m --trust-file-wait 0 --until trust-new"},
		{[]string{"rotate", "--yes"}, "failed", "it goes on from the middle of stopped"},
		{[]string{"rollback", "--yes"}, "rolled-back", "--from-snapshot S -o events --back --root b --timeout 8m --trust-file-wait 0 --until trust-new"},
		{[]string{"rotate", "--yes", "--until", "sign-new"}, "stopped", "--from-snapshot S -o events --root b --trust-file-wait 0 --until sign-new"},
	} {
		line, why := a.line(one.args, "S")
		if got := strings.TrimPrefix(strings.Join(line, " "), "rehearse ") + why; got != one.want {
			t.Errorf("%v: %q, not %q", one.args, got, one.want)
		}
		a.state = one.end
	}
}

// A row that rotates and of whose runs none could be compared is red, unless it says why, or nothing was decided.
func TestUncomparedIsRed(t *testing.T) {
	for _, one := range []struct {
		agreement
		rotates, red bool
	}{
		{agreement{}, true, true}, {agreement{}, false, false}, {agreement{off: "killed"}, true, false}, {agreement{early: 1}, true, false},
		{agreement{early: 1, skips: []string{"x"}}, true, true}, {agreement{agreed: 1, skips: []string{"x"}}, true, false}, {agreement{agreed: 1, differ: []string{"x"}}, false, true},
	} {
		if why := one.verdict(one.rotates); (why != "") != one.red {
			t.Errorf("%+v: %q", one, why)
		}
	}
}
