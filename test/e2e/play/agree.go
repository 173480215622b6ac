package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// agreement holds a row's runs of rotate and rollback against the same runs in memory: from a snapshot of the mesh as it was before,
// "rehearse" tells Events as the run itself does, and both must come to the same decisions.
type agreement struct {
	off    string   // why the row's runs cannot be rehearsed, "" where they can
	from   string   // the snapshot that the rotation under way began from
	args   []string // and its command line, without what a rehearsal has no use for
	state  string   // the kind of the last run's last Event
	adopts bool     // one of the runs moved Istio's own pair to cacerts
	agreed int
	early  int      // runs that ended before they planned anything: nothing was decided
	skips  []string // runs that were not compared, and why
	differ []string
	taken  int             // snapshots
	later  []func(g *game) // what is compared when the row has ended: requests are counted meanwhile, and pods that starve are not ready
}

// run is a run of the product that is compared.
func (a *agreement) run(g *game, args []string) outcome {
	if a.off != "" {
		return g.run("", "kubectl-meshca", args...)
	}
	if !slices.Contains(args, "-o") {
		args = append(slices.Clone(args), "-o", "json")
	}
	snapshot := filepath.Join(g.dir, fmt.Sprintf("before-%d.json", a.taken))
	a.taken++
	s := g.run("", "kubectl-meshca", "snapshot", "--out", snapshot)
	o := g.run("", "kubectl-meshca", args...)
	line, why := a.line(args, snapshot)
	a.state = endOf([]byte(o.out))
	a.adopts = a.adopts || strings.Contains(o.out, `"adopts":true`)
	switch {
	case a.state == "":
		a.early++
		return o
	case why != "":
	case s.code != 0:
		why = "no snapshot could be taken: " + s.brief()
	default:
		a.later = append(a.later, func(g *game) { a.compare(g, args, line, o) })
		return o
	}
	a.skips = append(a.skips, args[0]+": "+why)
	return o
}

// line is the rehearsal of a run, or why there is none.
func (a *agreement) line(args []string, snapshot string) (line []string, why string) {
	kept := rehearsable(args[1:])
	begins := args[0] == "rotate" && slices.ContainsFunc(args, func(s string) bool { return s == "--root" || s == "--new-ca" || s == "same-key" })
	switch {
	case begins:
		a.from, a.args = snapshot, kept
	case a.from == "":
		return nil, "it goes on with what was begun elsewhere"
	case args[0] == "rollback":
		return slices.Concat([]string{"rehearse", "--from-snapshot", a.from, "-o", "events", "--back"}, a.args), ""
	case a.state == "rolled-back" && a.adopts:
		a.from = ""
		return nil, "that cacerts holds the adopted pair, the journal alone knows"
	case a.state == "rolled-back":
		a.from, a.args = snapshot, slices.Concat(without(a.args, "--until", "--timeout"), kept)
	default:
		return nil, "it goes on from the middle of " + cmp.Or(a.state, "nothing")
	}
	return slices.Concat([]string{"rehearse", "--from-snapshot", a.from, "-o", "events"}, a.args), ""
}

// rehearsable is a command line without what only a run on a real mesh knows.
func rehearsable(args []string) []string {
	return without(args, "-o", "--yes", "--traffic-baseline", "--take-over", "--as", "--to-compromised", "--to-ending", "--csr-proof")
}

// without drops flags, and the values of those that have one.
func without(args []string, flags ...string) (kept []string) {
	for i := 0; i < len(args); i++ {
		if !slices.Contains(flags, args[i]) {
			kept = append(kept, args[i])
			continue
		}
		if i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") {
			i++
		}
	}
	return kept
}

func (a *agreement) compare(g *game, args, line []string, o outcome) {
	r := g.run("", "kubectl-meshca", line...)
	there, here := []byte(o.out), []byte(r.out)
	if args[0] == "rollback" {
		here = secondRun(here)
	}
	if diff := differences(decisions(there), decisions(here)); diff != "" {
		a.differ = append(a.differ, args[0]+" and its rehearsal disagree (- the mesh, + the rehearsal):\n"+diff)
		return
	}
	if (o.code == 0) != (r.code == 0) {
		a.differ = append(a.differ, fmt.Sprintf("%s ends with %d, its rehearsal with %d: %s", args[0], o.code, r.code, r.brief()))
		return
	}
	a.agreed++
}

// rehearse plays the row's runs in memory.
func (a *agreement) rehearse(g *game) {
	for _, compare := range a.later {
		compare(g)
	}
	a.later = nil
}

// verdict is why the row is red, "" where everything that could be compared agrees.
func (a *agreement) verdict(expected bool) string {
	switch {
	case len(a.differ) > 0:
		return strings.Join(a.differ, "\n")
	case expected && a.off == "" && a.agreed == 0 && (a.early == 0 || len(a.skips) > 0):
		return "no run was held against a rehearsal: " + strings.Join(a.skips, "; ")
	}
	return ""
}

func (a *agreement) String() string {
	if a.agreed == 0 {
		return ""
	}
	text := fmt.Sprintf("; rehearsed alike: %d", a.agreed)
	if len(a.skips) > 0 {
		text += fmt.Sprintf(" (%d not compared: %s)", len(a.skips), strings.Join(a.skips, "; "))
	}
	return text
}

// agree holds the Events of two runs against each other, from files.
func agree(files []string) int {
	var lines [2][]string
	for i := range lines {
		if len(files) != 2 {
			fmt.Fprintln(os.Stderr, "play: agree FILE FILE")
			return 64
		}
		text, err := os.ReadFile(files[i])
		if err != nil {
			fmt.Fprintln(os.Stderr, "play:", err)
			return 1
		}
		lines[i] = decisions(text)
	}
	diff := differences(lines[0], lines[1])
	if diff == "" {
		fmt.Printf("%d decisions, the same\n", len(lines[0]))
		return 0
	}
	fmt.Println(diff)
	return 2
}
