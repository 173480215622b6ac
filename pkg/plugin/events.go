package plugin

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// eventPrinter shows a rotation: progress on stderr, a live line where that is a
// terminal, and the result, or with -o json every Event, on stdout.
type eventPrinter struct {
	out, err io.Writer
	json     bool
	live     bool
	quiet    bool   // without progress
	open     bool   // a live line stands without its newline
	about    string // of the phase, as it was said last
	cluster  *cluster
}

// printer shows a rotation of this cluster, and names commands that are about it.
func (c *cluster) printer(streams genericiooptions.IOStreams, output string) *eventPrinter {
	p := newEventPrinter(streams, output)
	p.quiet, p.cluster = c.quiet, c
	return p
}

func newEventPrinter(streams genericiooptions.IOStreams, output string) *eventPrinter {
	return &eventPrinter{out: streams.Out, err: streams.ErrOut, json: output == "json", live: canDraw(streams.ErrOut)}
}

// eventLine is one line of -o json.
type eventLine struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	rotation.Event
	EventKind rotation.EventKind `json:"event"`
}

func (p *eventPrinter) event(e rotation.Event) {
	e.Message, e.Plan, e.Managed = p.cluster.carry(e.Message), p.cluster.carryPlan(e.Plan), p.cluster.carryManaged(e.Managed)
	if p.json {
		line := eventLine{APIVersion: mesh.APIVersion, Kind: "Event", Event: e, EventKind: e.Kind}
		_ = writeJSON(p.out, line, "") // the rotation goes on whoever reads
	}
	if e.Kind == rotation.EventPlan {
		return // printed before it was confirmed
	}
	if e.Kind == rotation.EventPhase {
		p.about = e.Message
	}
	if p.quiet && e.Kind != rotation.EventWarning {
		p.outcome(e)
		return
	}
	e.Message = strings.TrimSuffix(e.Message, ": "+p.about) // a write of which the phase's own line has told
	text := fmt.Sprintf("%s  %-12s  %s", e.Time.Local().Format(time.TimeOnly), e.Phase, describe(e))
	if p.live && e.Kind == rotation.EventGate {
		fmt.Fprintf(p.err, "\r\x1b[K%s", ansi.Truncate(plain(text), columns(p.err)-1, "…")) // no line break of the terminal's own, which nothing takes back
		p.open = true
		return
	}
	p.end()
	fmt.Fprintln(p.err, plain(text))
	if e.Kind == rotation.EventGate && e.Gate != nil {
		p.namespaces(e.Gate)
	}
	p.outcome(e)
}

func describe(e rotation.Event) string {
	switch e.Kind {
	case rotation.EventPhase:
		return "== " + e.Message
	case rotation.EventGate:
		return "waiting: " + e.Message
	case rotation.EventWrite:
		return "wrote " + e.Object + ": " + e.Message
	case rotation.EventRestart:
		return e.Object + ": " + e.Message
	case rotation.EventWarning:
		return "warning: " + e.Message
	case rotation.EventEvidence:
		return e.Object + " logged: " + e.Message
	case rotation.EventFailed:
		return "stopped: " + e.Message
	}
	return e.Message
}

// namespaces is the progress of each, where there is more than one line to say.
func (p *eventPrinter) namespaces(s *rotation.Status) {
	var parts []string
	for _, n := range s.Namespaces {
		if n.Ready < n.Proxies {
			parts = append(parts, fmt.Sprintf("%s %d/%d", n.Namespace, n.Ready, n.Proxies))
		}
	}
	if len(parts) > 0 {
		fmt.Fprintln(p.err, plain("                        "+strings.Join(parts, "  ")))
	}
}

// end closes a live line.
func (p *eventPrinter) end() {
	if p.open {
		fmt.Fprint(p.err, "\r\x1b[K")
		p.open = false
	}
}

// outcome is what a run has come to, on stdout.
func (p *eventPrinter) outcome(e rotation.Event) {
	if ended := e.Kind == rotation.EventDone || e.Kind == rotation.EventStopped || e.Kind == rotation.EventRolledBack; p.json || !ended {
		return
	}
	fmt.Fprintf(p.out, "%s: %s\n", e.Kind, plain(e.Message))
	if f := e.Figures; f != nil {
		fmt.Fprintf(p.out, "engine %.1f s, waits %.1f s, %d proxies, %d istiods restarted, %d workload pods restarted\n", f.Engine, f.Waits, f.Proxies, f.Restarts, f.Workloads)
	}
}

// brief says on stderr what is about to be done.
func (p *eventPrinter) brief(plan *rotation.Plan) error {
	return p.write(p.err, p.cluster.carryPlan(plan))
}

// plan prints a plan as a result.
func (p *eventPrinter) plan(plan *rotation.Plan) error {
	plan = p.cluster.carryPlan(plan)
	if p.json {
		return writeJSON(p.out, planReport{APIVersion: mesh.APIVersion, Kind: "Plan", Plan: plan}, "")
	}
	return p.write(p.out, plan)
}

// planReport is a plan as a result.
type planReport struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	*rotation.Plan
}

func (p *eventPrinter) write(w io.Writer, plan *rotation.Plan) error {
	var rows [][]string
	row := func(name, value string) { rows = append(rows, []string{name, value}) }
	if plan.Secret != "" {
		row("secret", plan.Namespace+"/"+plan.Secret)
	}
	if plan.OldRoot.Subject != "" {
		row("old root", plan.OldRoot.Subject+"  "+plan.OldRoot.Fingerprint.Short()+"  until "+stamp(plan.OldRoot.NotAfter))
	}
	if plan.NewRoot.Subject != "" {
		row("new root", plan.NewRoot.Subject+"  "+plan.NewRoot.Fingerprint.Short()+"  until "+stamp(plan.NewRoot.NotAfter))
		row("new signer", plan.NewSigner.Subject+"  "+plan.NewSigner.Fingerprint.Short()+"  until "+stamp(plan.NewSigner.NotAfter))
	}
	for _, kept := range plan.Kept {
		row("kept", kept.Subject+"  "+kept.Fingerprint.Short())
	}
	options := plan.Options
	if plan.GoesBack() {
		row("", "the way back, to the old root and signer")
		options = nil
	}
	for _, o := range options {
		mark := "not possible: "
		switch {
		case o.Possible && o.Strategy == plan.Strategy:
			mark = "chosen: " // what comes below is of this one
		case o.Possible:
			mark = "possible: "
		}
		row(string(o.Strategy), mark+o.Why)
	}
	if len(plan.Revisions) > 1 {
		for _, r := range plan.Revisions {
			row("revision "+r.Revision, fmt.Sprintf("%s %s, %d replicas, %d proxies: %s", r.Name, r.Version, r.Replicas, r.Proxies, r.Does))
		}
	}
	for i, step := range plan.Course() {
		note := ""
		if i < plan.Written() {
			if plan.GoesBack() {
				continue // from further on than it stands
			}
			note = " (written)"
		}
		if step.Restart {
			note += " (istiod restarts)"
		}
		if step.Waves != "" {
			note += " (workloads are restarted in waves: " + string(step.Waves) + ")"
		}
		row(fmt.Sprintf("%d. %s", i+1, step.Phase), step.About+note)
	}
	if n := len(plan.Course()); plan.Standing != nil {
		row("left", fmt.Sprintf("%d of %d writes; the cost is that of all of them", n-plan.Written(), n))
	}
	if len(plan.Steps) > 0 {
		row("cost", fmt.Sprintf("%d certificate requests at once, %s, %d istiods restarted, %d workload pods restarted, waits for renewals up to %s, waits for files %s",
			plan.Cost.CSRs, counted(plan.Cost.Bursts, "time"), plan.Cost.IstiodRestarts, plan.Cost.WorkloadRestarts, plan.Cost.LongestWait, plan.Cost.FileWaits))
		if v := plan.Cost.VirtualMachines; v != nil {
			row("", v.String()+"; that long is waited before an old root is taken away")
		}
	}
	for _, text := range plan.Exposed {
		row("exposed", text)
	}
	for _, text := range plan.Afterwards {
		row("afterwards", text)
	}
	for _, text := range plan.Outage {
		row("outage", text)
	}
	rows = append(rows, remarks(plan.Warnings, plan.Refusals)...)
	return printRows(w, append(rows, closedNow(plan.Gate)...))
}

// closedNow are the rows of what keeps the gate before the first write closed.
func closedNow(gate *rotation.Status) (rows [][]string) {
	if gate == nil {
		return nil
	}
	const most = 5
	for i, b := range gate.Blockers {
		if i == most {
			return append(rows, []string{"", fmt.Sprintf("and %d more", len(gate.Blockers)-most)})
		}
		rows = append(rows, []string{"CLOSED NOW", b.String()})
	}
	return rows
}

// remarks are the rows of what is worth reading before a change, and of what forbids it.
func remarks(warnings, refusals []rotation.Refusal) (rows [][]string) {
	for _, r := range warnings {
		rows = append(rows, []string{"warning", r.Object + ": " + r.Why})
	}
	for _, r := range refusals {
		rows = append(rows, []string{"REFUSED", r.Object + ": " + r.Why}, []string{"", "hint: " + r.Hint})
	}
	return rows
}
