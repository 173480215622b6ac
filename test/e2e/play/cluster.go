package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// outcome is how a command ended.
type outcome struct {
	code     int
	out, err string
	took     time.Duration
}

// said reports whether the command named all of these, on either stream.
func (o outcome) said(words ...string) bool {
	for _, w := range words {
		if !strings.Contains(o.out, w) && !strings.Contains(o.err, w) {
			return false
		}
	}
	return true
}

// brief is the line that says most: the first of stderr, or of stdout.
func (o outcome) brief() string {
	for _, s := range []string{o.err, o.out} {
		if line, _, _ := strings.Cut(strings.TrimSpace(s), "\n"); line != "" {
			return clip(line, 160)
		}
	}
	return ""
}

// run starts a command and waits until it has ended or ctx is done; then it is interrupted, and killed if that is not enough.
func run(ctx context.Context, stdin, name string, args ...string) outcome {
	c := exec.CommandContext(ctx, name, args...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	c.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	began := time.Now()
	err := c.Run()
	o := outcome{out: out.String(), err: errs.String(), took: time.Since(began)}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		o.code = exit.ExitCode()
	case err != nil:
		o.code, o.err = -1, o.err+err.Error()
	}
	return o
}

// game is what a row has to play with. A requirement that does not hold ends the row.
type game struct {
	ctx  context.Context
	dir  string // the row's own, for files
	log  *os.File
	also []result // more results than the row's own
	// agreed is what the rehearsal makes of the row's runs.
	agreed agreement
}

type failure string

func (g *game) require(holds bool, words ...string) {
	if !holds {
		panic(failure(strings.Join(words, " ")))
	}
}

func (g *game) run(stdin, name string, args ...string) outcome {
	o := run(g.ctx, stdin, name, args...)
	g.log.WriteString("$ " + name + " " + strings.Join(args, " ") + "\n" + o.out + o.err + "exit " + itoa(o.code) + " after " + o.took.Round(time.Millisecond).String() + "\n\n")
	return o
}

// must is for the harness's own commands: that one of them fails says nothing about the product, but nothing more can be said then.
func (g *game) must(name string, args ...string) string { return g.pipe("", name, args...) }

func (g *game) pipe(stdin, name string, args ...string) string {
	o := g.run(stdin, name, args...)
	g.require(o.code == 0, "harness:", filepath.Base(name), strings.Join(args, " ")+":", "exit", itoa(o.code)+":", o.brief())
	return o.out
}

func (g *game) kubectl(args ...string) string { return g.must("kubectl", args...) }

// meshca runs the product. What rotates or goes back is held against the same in memory.
func (g *game) meshca(args ...string) outcome {
	if len(args) > 0 && (args[0] == "rotate" || args[0] == "rollback") && !slices.Contains(args, "--dry-run") {
		return g.agreed.run(g, args)
	}
	return g.run("", "kubectl-meshca", args...)
}

// script runs one of mesh/*.sh.
func (g *game) script(name string, args ...string) string {
	return g.must(filepath.Join(os.Getenv("E2E"), "mesh", name), args...)
}

// until asks again and again, without a fixed wait, and fails the row when the answer is still no at the end.
func (g *game) until(what string, max time.Duration, holds func() bool) {
	g.require(g.within(max, holds), "not", what, "within", max.String())
}

func (g *game) within(max time.Duration, holds func() bool) bool {
	for end := time.Now().Add(max); ; {
		if holds() {
			return true
		}
		if time.Now().After(end) || g.ctx.Err() != nil {
			return false
		}
		time.Sleep(250 * time.Millisecond)
	}
}

func (g *game) version() string {
	return g.kubectl("-n", "istio-system", "get", "secret", "cacerts", "-o", "jsonpath={.metadata.uid}/{.metadata.resourceVersion}")
}

// pods names every pod of the workloads with the restarts of its containers: what a rotation without restarts leaves as it was.
func (g *game) pods() string {
	var all strings.Builder
	for _, ns := range namespaces {
		all.WriteString(g.kubectl("-n", ns, "get", "pods", "-o",
			`jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}:{.status.containerStatuses[*].restartCount}:{.status.initContainerStatuses[*].restartCount} {end}`))
	}
	return all.String()
}

var namespaces = []string{"a", "b", "c"}
