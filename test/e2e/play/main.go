// Command play brings the meshes of test/e2e into their starting states and plays the rows on them. inside.sh runs it in the
// namespaces that run.sh made; "play rows" lists them anywhere.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
)

func main() { os.Exit(play(os.Args[1:])) }

func play(args []string) int {
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "play: rows | smoke | full | all | row NAME... | bench | mesh NAME | agree FILE FILE")
		return 64
	}
	switch args[0] {
	case "rows":
		list()
		return 0
	case "agree":
		return agree(args[1:])
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	f := &field{state: os.Getenv("STATE"), fresh: true}
	switch args[0] {
	case "mesh":
		i := slices.IndexFunc(meshes, func(m *mesh) bool { return len(args) > 1 && m.name == args[1] })
		if i < 0 {
			fmt.Fprintln(os.Stderr, "play: no such mesh: see run.sh rows")
			return 64
		}
		// By hand a mesh may follow another.
		_, err := os.Stat(f.state + "/log/mesh.log")
		f.fresh = os.IsNotExist(err)
		if err := f.set(ctx, meshes[i]); err != nil {
			fmt.Fprintln(os.Stderr, "play:", err)
			return 1
		}
		return 0
	case "smoke":
		return f.playAll(ctx, slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !r.smoke }))
	case "bench":
		return f.bench(ctx)
	case "full":
		return f.playAll(ctx, slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.long }))
	case "all":
		return f.playAll(ctx, rows)
	case "row":
		var some []row
		for _, name := range args[1:] {
			i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
			if i < 0 {
				fmt.Fprintf(os.Stderr, "play: no such row: %s: see run.sh rows\n", name)
				return 64
			}
			some = append(some, rows[i])
		}
		return f.playAll(ctx, some)
	}
	fmt.Fprintln(os.Stderr, "play: what is", args[0]+"?")
	return 64
}

func list() {
	for _, m := range meshes {
		fmt.Printf("mesh  %-24s %s\n", m.name, m.about)
	}
	for _, r := range rows {
		in := "full"
		switch {
		case r.smoke:
			in = "smoke"
		case r.long:
			in = "all"
		}
		fmt.Printf("row   %-24s %-13s  %-5s  %s\n", r.name, r.mesh.name, in, r.about)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}
