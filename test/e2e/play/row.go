package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// row is one scenario: a mesh in its starting state, something done to it, and what must be true then.
type row struct {
	name, about string
	mesh        *mesh
	smoke       bool          // what every change must pass
	long        bool          // another of its kind is in "full", which is to take an hour
	changes     bool          // the mesh is another one afterwards
	needs       []string      // the product's commands; a binary that has not got them yet cannot play the row
	limit       time.Duration // 0 is two minutes
	unrehearsed string        // why no run of it can be rehearsed from a snapshot
	play        func(*game) string
}

// rows is the table, in an order that spares resets: rows of the same mesh stand together, those that change it last.
var rows = slices.Concat(baselineRows, envoyRows, inputRows, doubtRows, referenceRows, hotRows, keyRows, roleRows, killedRows, hurtRows, namedRows, sealedRows, roadRows, backRows, revisionRows, sameKeyRows, agingRows, crossRows, controlRows, crlRows, leakedRows, certManagerRows, recoverRows, olderRows, givenRows, citadelRows, emptyRows)

type result struct {
	name, detail string
	verdict      string // ok, FAIL or not run
	took         time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("%-8s%-28s %s (%.0f s)", r.verdict, r.name, r.detail, r.took.Seconds())
}

func (f *field) playAll(ctx context.Context, chosen []row) int {
	began := time.Now()
	var results []result
	if len(chosen) == 0 {
		fmt.Fprintln(os.Stderr, "play: no row")
		return 64
	}
	for _, r := range chosen {
		for _, res := range f.playOne(ctx, r) {
			fmt.Println(res)
			results = append(results, res)
		}
	}
	count := map[string]int{}
	fmt.Printf("\n%-8s%-28s %s\n", "", "row", fmt.Sprintf("what was seen, in %.0f s in all", time.Since(began).Seconds()))
	for _, res := range results {
		count[res.verdict]++
		fmt.Println(res)
	}
	if n := count[notRun]; n > 0 {
		fmt.Printf("\n%d not run: each says what is missing\n", n)
	}
	fmt.Printf("\n%d passed, %d failed\n", count[passed], count[failed])
	// A run that proved nothing is not green either.
	if count[failed] > 0 || count[passed] == 0 {
		return 1
	}
	return 0
}

const passed, failed, notRun = "ok", "FAIL", "not run"

func (f *field) playOne(ctx context.Context, r row) (results []result) {
	began := time.Now()
	say := func(verdict, detail string) []result {
		return append([]result{{r.name, detail, verdict, time.Since(began)}}, results...)
	}
	for _, c := range r.needs {
		if !has(ctx, c) {
			return say(notRun, "no command "+c)
		}
	}
	if why := f.missing(r.mesh); why != "" {
		return say(notRun, why)
	}
	if err := f.set(ctx, r.mesh); err != nil {
		tail(filepath.Join(f.state, "log", "mesh.log"))
		return say(failed, "harness: "+err.Error())
	}
	began = time.Now()
	if r.changes {
		f.now = nil
	}
	ctx, cancel := context.WithTimeout(ctx, max(r.limit, 2*time.Minute))
	defer cancel()
	g := &game{ctx: ctx, dir: filepath.Join(f.state, "row", r.name), agreed: agreement{off: r.unrehearsed}}
	if g.agreed.off == "" && !run(ctx, "", "kubectl-meshca", "rehearse", "--help").said("--back") {
		g.agreed.off = "this binary tells no Events of a rehearsal"
	}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return say(failed, "harness: "+err.Error())
	}
	log, err := os.OpenFile(filepath.Join(f.state, "log", "row-"+r.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return say(failed, "harness: "+err.Error())
	}
	g.log = log
	detail, why := attempt(g, r)
	if why == "" {
		g.agreed.rehearse(g)
		why = g.agreed.verdict(slices.Contains(r.needs, "rotate"))
	}
	detail += g.agreed.String()
	log.Close()
	results = g.also
	if why == "" && ctx.Err() != nil {
		why = "not done within " + max(r.limit, 2*time.Minute).String()
	}
	if why != "" {
		f.now = nil // whatever it left is nobody else's starting state
		tail(log.Name())
		return say(failed, why)
	}
	return say(passed, detail)
}

func attempt(g *game, r row) (detail, why string) {
	defer func() {
		if e := recover(); e != nil {
			f, ok := e.(failure)
			if !ok {
				panic(e)
			}
			why = string(f)
		}
	}()
	return r.play(g), ""
}

// also adds a result of its own to the row's.
func (g *game) result(name string, holds bool, detail string) {
	verdict := passed
	if !holds {
		verdict = failed
	}
	g.also = append(g.also, result{name: name, verdict: verdict, detail: detail})
}

// has reports whether the binary knows the command: with --help, so that it touches nothing.
func has(ctx context.Context, command string) bool {
	o := run(ctx, "", "kubectl-meshca", "help")
	for line := range strings.Lines(o.out) {
		if words := strings.Fields(line); len(words) > 0 && words[0] == command {
			return true
		}
	}
	return false
}

// tail shows the end of a red row's log, for CI keeps nothing else.
func tail(file string) {
	text, _ := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, l := range lines[max(0, len(lines)-40):] {
		fmt.Println("    |", clip(l, 300))
	}
}
