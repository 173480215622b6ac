package tui

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/internal/plain"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// ticket is the result of a rotation as Markdown that can be pasted: what was
// done, on what evidence, and what was left out.
func ticket(look *Look, c Choice, l *live, err error, resume string, now time.Time) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintln(&b, plain.Line(fmt.Sprintf(format, args...))) }
	p := l.plan
	line("# Mesh CA rotation %s", p.ID)
	line("")
	line("- cluster: %s, istiod in %s", look.Cluster, look.Namespace)
	line("- result: %s", outcome(l, err))
	line("- why: %s; strategy: %s", cmp.Or(string(c.Reason), "carried on"), p.Strategy)
	line("- from %s (sha256 %s)", p.OldRoot.Subject, p.OldRoot.Fingerprint.Short())
	line("- to %s (sha256 %s), signer %s", p.NewRoot.Subject, p.NewRoot.Fingerprint.Short(), p.NewSigner.Subject)
	line("- %s to %s, %s", stamp(l.began), stamp(now), clock(now.Sub(l.began)))
	for _, e := range l.events {
		if f := e.Figures; f != nil {
			line("- engine %.1f s, waits %.1f s, %d proxies, %d istiods restarted, %d workload pods restarted, %d nudges", f.Engine, f.Waits, f.Proxies, f.Restarts, f.Workloads, f.Nudges)
		}
	}
	line("")
	line("## Evidence")
	for _, e := range l.events {
		switch e.Kind {
		case rotation.EventPassed, rotation.EventWrite, rotation.EventRestart, rotation.EventWarning, rotation.EventFailed, rotation.EventAccepted, rotation.EventPaused, rotation.EventResumed, rotation.EventWorkload:
			line("- %s %s %s: %s", e.Time.UTC().Format(time.TimeOnly), e.Phase, e.Kind, strings.TrimPrefix(e.Object+": "+e.Message, ": "))
		}
		if e.Gate != nil {
			for _, a := range e.Gate.Accepted {
				line("  - accepted as unknown: %s", a.String())
			}
		}
	}
	if err != nil && resume != "" {
		line("")
		line("It is carried on with: %s", resume)
	}
	return b.String()
}

func outcome(l *live, err error) string {
	if err != nil {
		return "not finished: " + err.Error()
	}
	return lastMessage(l)
}

// lastMessage is what the last Event said.
func lastMessage(l *live) string {
	for i := len(l.events) - 1; i >= 0; i-- {
		switch e := l.events[i]; e.Kind {
		case rotation.EventDone, rotation.EventStopped:
			return "Done: " + e.Message + "."
		case rotation.EventRolledBack:
			return "Rolled back: " + e.Message + "."
		}
	}
	return "It ended."
}
