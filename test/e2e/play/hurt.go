package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What a rotation stands on fails in the middle of it.
var hurtRows = []row{
	{name: "hurt-istiod", about: "one istiod killed while both roots spread, all of them rolled while the signer changes", mesh: hot, unrehearsed: "istiods fail in the middle", changes: true, needs: []string{"rotate"}, limit: 5 * time.Minute, play: func(g *game) string {
		return g.hurtAmid(map[string]func(*process){
			"trust-new": func(*process) { g.kill(g.podsOf("istio-system", "app=istiod")[0], "pilot-discovery") },
			"sign-new":  func(*process) { g.kubectl("-n", "istio-system", "rollout", "restart", "deploy/istiod") },
		}, "trust-new", "sign-new")
	}},
	{name: "hurt-apiserver", about: "the API server killed as the signer is written, and away for 20 s", mesh: hot, unrehearsed: "the API server fails in the middle", changes: true, needs: []string{"rotate"}, limit: 6 * time.Minute, play: func(g *game) string {
		return g.hurtAmid(map[string]func(*process){"sign-new": func(p *process) { g.away(p, "apiserver", 20*time.Second) }}, "sign-new")
	}},
	{name: "hurt-apiserver-long", about: "the API server killed as the old root goes, and away for longer than the Lease lasts", mesh: hot, unrehearsed: "the API server fails in the middle", long: true, changes: true, needs: []string{"rotate"}, limit: 7 * time.Minute, play: func(g *game) string {
		return g.hurtAmid(map[string]func(*process){"distrust-old": func(p *process) { g.away(p, "apiserver", 80*time.Second) }}, "distrust-old")
	}},
	{name: "hurt-etcd", about: "etcd killed as the signer is written, and away for 20 s", mesh: hot, unrehearsed: "etcd fails in the middle", changes: true, needs: []string{"rotate"}, limit: 6 * time.Minute, play: func(g *game) string {
		return g.hurtAmid(map[string]func(*process){"sign-new": func(p *process) { g.away(p, "etcd", 20*time.Second) }}, "sign-new")
	}},
	{name: "hurt-kubelet", about: "kubelet stopped for a minute as the signer is written", mesh: hot, unrehearsed: "kubelet fails in the middle", changes: true, needs: []string{"rotate"}, limit: 6 * time.Minute, play: func(g *game) string {
		return g.hurtAmid(map[string]func(*process){"sign-new": func(p *process) {
			pid := g.daemon("kubelet")
			syscall.Kill(pid, syscall.SIGSTOP)
			defer syscall.Kill(pid, syscall.SIGCONT)
			time.Sleep(time.Minute)
			g.require(p.running(), "the rotation ended while no file of any pod could follow")
		}}, "sign-new")
	}},
}

// hurtAmid rotates, and does to the mesh what stands for a phase as soon as that phase has written the CA. The rotation ends right: in the same
// process, or with 124, and another one goes on. No request may fail.
func (g *game) hurtAmid(hurts map[string]func(*process), order ...string) string {
	b := g.ca("B")
	before, t := g.pods(), startTally()
	p := g.start(g.rotate(b, "--trust-file-wait", "0", "--timeout", "4m", "-o", "json")...)
	for _, phase := range order {
		p.until(g, "the write of "+phase, time.Minute, func(e event) bool {
			return e.Kind == "write" && e.Phase == phase && strings.HasSuffix(e.Object, "/cacerts")
		})
		g.require(p.running(), "harness: it ended before it could be hurt")
		hurts[phase](p)
	}
	_, code := p.end(g, 5*time.Minute)
	codes := itoa(code)
	for runs := 1; code == 124 && runs < 3; runs++ {
		code = g.meshca("rotate", "--yes", "--trust-file-wait", "0", "--traffic-baseline", "2s", "--timeout", "2m").code
		codes += ", " + itoa(code)
	}
	s := t.end()
	g.require(code == 0, "rotate: exit", codes+":", p.last().Message)
	g.whole(s)
	g.require(g.pods() == before, "workloads were restarted")
	// An API server that was away for long calls nodes not ready a while after it is back, and what they run is not proven by then.
	g.until("every node ready", time.Minute, func() bool {
		o := g.run("", "kubectl", "get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
		return o.code == 0 && strings.Trim(o.out, "True ") == "" && o.out != ""
	})
	g.holds(b, true)
	return fmt.Sprintf("hurt in %s; exit %s; %s", strings.Join(order, ", "), codes, s)
}

// kill ends a process of a pod with SIGKILL.
func (g *game) kill(p pod, command string) {
	for _, pid := range g.processesOf(p, command) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// daemon is the process of one of the cluster's own parts.
func (g *game) daemon(name string) int {
	pid, err := strconv.Atoi(strings.TrimSpace(read(os.Getenv("STATE"), "run", name+".pid")))
	g.require(err == nil && syscall.Kill(pid, 0) == nil, "harness: no process of", name)
	return pid
}

// away kills one of the cluster's own parts with SIGKILL, and starts it again, as it was, after a time.
func (g *game) away(p *process, name string, d time.Duration) {
	pid := g.daemon(name)
	proc := filepath.Join("/proc", itoa(pid))
	line := strings.Split(strings.TrimSuffix(read(proc, "cmdline"), "\x00"), "\x00")
	program, err := os.Readlink(filepath.Join(proc, "exe"))
	g.require(err == nil, "harness: cannot see", name)
	dir, err := os.Readlink(filepath.Join(proc, "cwd"))
	g.require(err == nil, "harness: cannot see", name)
	syscall.Kill(pid, syscall.SIGKILL)
	time.Sleep(d)
	running := p.running()
	log, err := os.OpenFile(filepath.Join(os.Getenv("STATE"), "log", name+".log"), os.O_APPEND|os.O_WRONLY, 0o600)
	g.require(err == nil, "harness: no log of", name)
	defer log.Close()
	c := exec.Command(program, line[1:]...)
	c.Dir, c.Stdout, c.Stderr, c.SysProcAttr = dir, log, log, &syscall.SysProcAttr{Setsid: true}
	g.require(c.Start() == nil, "harness: cannot start", name, "again")
	go c.Wait()
	g.require(os.WriteFile(filepath.Join(os.Getenv("STATE"), "run", name+".pid"), []byte(itoa(c.Process.Pid)), 0o600) == nil, "harness: cannot note the process of", name)
	g.until(name+" is back", time.Minute, func() bool { return g.run("", "kubectl", "get", "--raw", "/readyz").code == 0 })
	fmt.Fprintf(g.log, "%s was away for %s; the rotation was under way: %v\n", name, d, running)
}
