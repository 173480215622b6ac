package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Killed with SIGKILL at any instant of its writes, another process goes on from what is true.
var killedRows = []row{
	{name: "killed-hot", about: "kill -9 at 12 random instants of a rotation by push, there and back, each resumed by another process", mesh: hot, unrehearsed: "it is killed in the middle, again and again", changes: true, needs: []string{"rotate", "rollback"}, limit: 8 * time.Minute, play: func(g *game) string {
		return g.killedAndResumed(12, 7*time.Second)
	}},
	{name: "killed-cross", about: "kill -9 at 8 random instants of a rotation by cross-signing, each resumed by another process", mesh: brief, unrehearsed: "it is killed in the middle, again and again", changes: true, needs: []string{"rotate", "rollback"}, limit: 10 * time.Minute, play: func(g *game) string {
		return g.killedAndResumed(8, 14*time.Second, "--old-root-key", started()+"/root-key.pem")
	}},
	{name: "killed-waves", about: "kill -9 at 6 random instants of a rotation that restarts two workloads in waves, there and back, each resumed by another process", mesh: hot, long: true, unrehearsed: "it is killed in the middle, again and again", changes: true, needs: []string{"rotate", "rollback"}, limit: 15 * time.Minute, play: func(g *game) string {
		g.offPush("c")
		return g.killedAndResumed(6, 40*time.Second, "--strategy", "bundle-by-restart", "--reason", "compromised", "--allow-restart", "c/server", "--allow-restart", "c/client")
	}},
}

// killedAndResumed rotates, and back, and so on, each process killed at an instant drawn from span behind its own first write, or from what a
// whole run took that came to its end before, until that has happened times times; then it ends with the new CA. Workloads off the push alone may be restarted.
func (g *game) killedAndResumed(times int, span time.Duration, more ...string) string {
	a, b, seed := started(), g.ca("B"), seed()
	random := rand.New(rand.NewPCG(seed, 0))
	watched, restarts := g.spared(more)
	before, t := watched(), startTally()
	fresh := g.rotate(b, append([]string{"--trust-file-wait", "0", "--timeout", "6m"}, more...)...)
	on := append([]string{"--yes", "--trust-file-wait", "0", "--traffic-baseline", "2s", "--timeout", "6m"}, restarts...)
	line := append(fresh, "-o", "json")
	goes := func(back bool) []string { return slices.Concat(way(back, restarts), []string{"-o", "json"}, on) }
	back, kills, ends, whole := false, []string{}, 0, true
	for len(kills) < times {
		g.require(ends < times, "harness: it was hardly ever killed under way")
		p := g.start(line...)
		p.until(g, "its first write", 2*time.Minute, func(e event) bool { return e.Kind == "write" && strings.HasSuffix(e.Object, "/meshca-staged") })
		after, wrote := time.Duration(random.Int64N(int64(span))), time.Now()
		killed, code := p.end(g, after)
		took := time.Since(wrote)
		line = goes(back)
		dead := ""
		if killed {
			dead = g.heldBy()
		}
		if dead == "" { // it had ended, or had let go of the Lease as its last act
			g.require(killed || code == 0, "a process that was not killed ended with", itoa(code))
			g.holds(map[bool]string{false: b, true: a}[back], ends == 0)
			ends++
			if whole {
				span = min(span, took) // this machine is faster
			}
			back = !back
			line = goes(back)
			whole = true
		} else {
			whole = false // what is left
			kills = append(kills, fmt.Sprintf("%s +%.1f s in %s/%s behind %s, journal %s", way(back, nil)[0], after.Seconds(), p.last().Phase, p.last().Step, p.last().Kind, g.journaled()))
			g.require(strings.HasSuffix(dead, "/"+itoa(p.pid())), "the Lease is not the dead process's:", dead)
			if len(kills) == times/2 {
				g.waitsOut(dead, line...) // the others are taken over by name
			} else {
				line = append(line, "--take-over", dead)
			}
		}
	}
	for {
		o := g.meshca(line...)
		g.require(o.code == 0, line[0]+": exit", itoa(o.code)+":", o.brief())
		if !back {
			break
		}
		g.holds(a, false)
		back, line = false, goes(false)
	}
	s := t.end()
	g.whole(s)
	g.require(watched() == before, "workloads were restarted")
	g.holds(b, true)
	fmt.Printf("         E2E_SEED=%d killed at: %s\n", seed, strings.Join(kills, "; "))
	return fmt.Sprintf("killed %d times, %d ends between, %s, E2E_SEED=%d", len(kills), ends, s, seed)
}

// way is the command of either way. Only a leaked key is worth a restart that a renewal would spare, at the end of either.
func way(back bool, restarts []string) []string {
	switch {
	case back && len(restarts) > 0:
		return []string{"rollback", "--to-compromised"}
	case back:
		return []string{"rollback"}
	}
	return []string{"rotate"}
}

// spared are the pods that a rotation with these flags may not restart, and those of its flags that let it restart others.
func (g *game) spared(flags []string) (pods func() string, restarts []string) {
	for i, flag := range flags {
		if flag == "--allow-restart" {
			restarts = append(restarts, flag, flags[i+1])
		}
	}
	if len(restarts) == 0 {
		return g.pods, nil
	}
	return func() string { return podsIn(g, "a") + podsIn(g, "b") }, restarts
}

// seed is E2E_SEED, or one of this moment.
func seed() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("E2E_SEED"), 10, 64); err == nil {
		return n
	}
	return uint64(time.Now().UnixNano()) % 1e6
}

// holds requires that the CA in dir is the mesh's, alone: by the ConfigMaps, by every proxy as read without the product, and, where asked, by verify.
func (g *game) holds(dir string, verify bool) {
	name := dir[strings.LastIndex(dir, "/")+1:]
	g.require(g.settledOn(read(dir, "root-cert.pem")), "the ConfigMaps do not hold root", name, "alone")
	g.require(g.every(func(l loaded) bool {
		return len(l.roots) == 1 && l.roots[0] == "root "+name && l.issuer == "intermediate "+name
	}), "not every proxy has root", name, "alone and a leaf of its CA")
	if verify {
		o := g.meshca("verify", "--csr-proof", "--root", dir+"/root-cert.pem")
		g.require(o.code == 0, "verify: exit", itoa(o.code)+":", o.brief())
	}
}

// journaled is the phase and step that the journal has.
func (g *game) journaled() string {
	text := g.kubectl("-n", "istio-system", "get", "cm", "-l", "meshca.io/rotation", "-o", "jsonpath={.items[*].data.state}")
	field := func(name string) string {
		_, rest, _ := strings.Cut(text, `"`+name+`": "`)
		value, _, _ := strings.Cut(rest, `"`)
		return value
	}
	return field("phase") + "/" + field("step")
}

func (g *game) heldBy() string {
	return g.kubectl("-n", "istio-system", "get", "lease", "meshca-rotation", "-o", "jsonpath={.spec.holderIdentity}")
}

// waitsOut has another process ask until the Lease of the dead is free: it is refused by name before.
func (g *game) waitsOut(dead string, line ...string) {
	o := g.meshca(line...)
	user, _, _ := strings.Cut(dead, "@")
	g.require(o.code == 2 && o.said("another rotation is under way", user+" on "), "beside a Lease: exit", itoa(o.code)+":", o.brief())
	held := func() string {
		return g.kubectl("-n", "istio-system", "get", "lease", "meshca-rotation", "-o", "jsonpath={.spec.renewTime}")
	}
	renewed, err := time.Parse(time.RFC3339Nano, held())
	g.require(err == nil, "harness: the Lease's renewTime")
	g.until("the Lease is out", 90*time.Second, func() bool { return time.Since(renewed) > time.Minute })
}
