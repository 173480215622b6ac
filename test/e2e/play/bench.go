package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench measures against baselines in the same run, one after the other in turns,
// so that whatever else the machine does falls on both. Ratios are what counts.
func (f *field) bench(ctx context.Context) int {
	if err := f.set(ctx, hot); err != nil {
		fmt.Fprintln(os.Stderr, "play:", err)
		return 1
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	g := &game{ctx: ctx, dir: filepath.Join(f.state, "row", "bench"), agreed: agreement{off: "it is timed"}}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		fmt.Fprintln(os.Stderr, "play:", err)
		return 1
	}
	log, err := os.Create(filepath.Join(f.state, "log", "bench.log"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "play:", err)
		return 1
	}
	defer log.Close()
	g.log = log
	detail, why := attempt(g, row{play: (*game).measure})
	if why != "" {
		fmt.Println("FAIL", why)
		return 1
	}
	fmt.Println(detail)
	return 0
}

// rounds of each size of the mesh: of all of them the median counts.
const rounds = 9

// replicas of each server in the larger mesh: with the clients 30 proxies.
const replicas = 9

func (g *game) measure() string {
	var out strings.Builder
	g.readings(&out, true)
	g.rotations(&out)
	// What a process costs before it reads anything is spread over what it reads.
	for _, ns := range namespaces {
		g.kubectl("-n", ns, "scale", "deploy/server", "--replicas="+itoa(replicas))
	}
	for _, ns := range namespaces {
		g.kubectl("-n", ns, "rollout", "status", "deploy/server", "--timeout=5m")
	}
	g.readings(&out, false)
	return strings.TrimSpace(out.String())
}

// readings times what reads the secrets of every proxy, and where asked for how long a
// process takes that reads nothing.
func (g *game) readings(out *strings.Builder, helps bool) {
	var pods []string
	for _, ns := range namespaces {
		for _, app := range []string{"client", "server"} {
			for _, p := range g.podsOf(ns, "app="+app) {
				pods = append(pods, p.String())
			}
		}
	}
	read := func(pod string) string {
		ns, name, _ := strings.Cut(pod, "/")
		return "istioctl proxy-config secret " + name + "." + ns + " -o json"
	}
	loop := "set -e; for p in " + strings.Join(pods, " ") + "; do istioctl proxy-config secret ${p#*/}.${p%/*} -o json >/dev/null; done"
	parallel := "set -o pipefail; printf '%s\n' " + strings.Join(pods, " ") + ` | xargs -P6 -I{} sh -c 'p={}; istioctl proxy-config secret ${p#*/}.${p%/*} -o json >/dev/null'`
	g.must("bash", "-c", read(pods[0])+" >/dev/null") // once, so that files are in memory
	warm := g.meshca("envoy", "-o", "json")
	g.require(warm.code == 0, "harness: envoy:", warm.brief())
	g.require(strings.Count(warm.out, `"leafConfirmed"`) == len(pods), "harness: envoy has not read each of", itoa(len(pods)), "proxies:", warm.brief())
	times := map[string][]time.Duration{}
	timed := func(name, command string, args ...string) {
		o := g.run("", command, args...)
		g.require(o.code == 0, "harness:", name+":", o.brief())
		times[name] = append(times[name], o.took)
	}
	for range rounds {
		timed("meshca", "kubectl-meshca", "envoy", "-o", "json")
		timed("loop", "bash", "-c", loop)
		timed("xargs", "bash", "-c", parallel)
		if helps {
			timed("help", "kubectl-meshca", "--help")
			timed("istioctl help", "istioctl", "--help")
		}
	}
	median := func(name string) time.Duration {
		all := slices.Sorted(slices.Values(times[name]))
		return all[len(all)/2]
	}
	per := func(name string) float64 { return median(name).Seconds() * 1000 / float64(len(pods)) }
	fmt.Fprintf(out, "reading the secrets of %d proxies, whole processes, median of %d rounds:\n", len(pods), rounds)
	fmt.Fprintf(out, "  kubectl meshca envoy              %6.1f ms a proxy\n", per("meshca"))
	fmt.Fprintf(out, "  loop of istioctl proxy-config     %6.1f ms a proxy: %.1f times as long\n", per("loop"), per("loop")/per("meshca"))
	fmt.Fprintf(out, "  xargs -P6 of it                   %6.1f ms a proxy: %.1f times as long\n", per("xargs"), per("xargs")/per("meshca"))
	if !helps {
		return
	}
	for _, one := range []struct{ binary, times string }{{"kubectl-meshca", "help"}, {"istioctl", "istioctl help"}} {
		fmt.Fprintf(out, "%-15s --help            %6.1f ms, %.0f MB as built\n", one.binary, median(one.times).Seconds()*1000, g.size(one.binary))
	}
}

// rotations are one by the product, then one by a script that polls with exec.
func (g *game) rotations(out *strings.Builder) {
	b := g.ca("B")
	t := startTally()
	o := g.meshca(g.rotate(b, "--trust-file-wait", "0")...)
	g.require(o.code == 0, "rotate: exit", itoa(o.code)+":", o.brief())
	g.whole(t.end())
	line := ""
	for l := range strings.Lines(o.out) {
		if strings.HasPrefix(l, "engine ") {
			line = strings.TrimSpace(l)
		}
	}
	fmt.Fprintf(out, "hot rotation: %.1f s as a whole process (%s)\n", o.took.Seconds(), line)
	began := time.Now()
	t = startTally()
	g.byHand(b, g.ca("C"))
	took := time.Since(began)
	s := t.end()
	fmt.Fprintf(out, "the same by a script that polls with exec: %.1f s, %s: %.1f times as long\n", took.Seconds(), s, took.Seconds()/o.took.Seconds())
}

// size is that of a binary in MB.
func (g *game) size(binary string) float64 {
	path, err := exec.LookPath(binary)
	g.require(err == nil, "harness: no", binary)
	info, err := os.Stat(path)
	g.require(err == nil, "harness: no", path)
	return float64(info.Size()) / 1e6
}

// byHand is the known good procedure on a hot mesh: trust both, sign new, trust new.
func (g *game) byHand(a, b string) {
	both := g.write("both.pem", read(a, "root-cert.pem")+read(b, "root-cert.pem"))
	nudge := g.write("nudge.pem", read(a, "root-cert.pem")+read(b, "root-cert.pem")+read(b, "root-cert.pem"))
	name := "intermediate " + filepath.Base(b)
	g.sign(a, both)
	g.until("both roots in every proxy", time.Minute, func() bool { return g.every(func(l loaded) bool { return len(l.roots) == 2 }) })
	g.sign(b, both)
	g.sign(b, nudge)
	g.until("new leaves in every proxy", time.Minute, func() bool { return g.every(func(l loaded) bool { return l.issuer == name }) })
	g.sign(b, b+"/root-cert.pem")
	g.until("the new root alone in every proxy", time.Minute, func() bool {
		return g.every(func(l loaded) bool {
			return slices.Equal(l.roots, []string{"root " + filepath.Base(b)}) && l.issuer == name
		})
	})
}
