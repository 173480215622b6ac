package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// pod is one pod's name and uid.
type pod struct{ ns, name, uid string }

func (p pod) String() string { return p.ns + "/" + p.name }

func (g *game) podsOf(ns, label string) []pod {
	var all []pod
	text := g.kubectl("-n", ns, "get", "pods", "-l", label, "--field-selector", "status.phase=Running", "-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{"\n"}{end}`)
	for line := range strings.Lines(text) {
		if name, uid, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			all = append(all, pod{ns, name, uid})
		}
	}
	g.require(len(all) > 0, "harness: no pod", label, "in", ns)
	return all
}

// freeze stops a pod's process until thaw: it answers nothing, and nothing tells why.
func (g *game) freeze(p pod, command string) (thaw func()) {
	pids := g.processesOf(p, command)
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGSTOP)
	}
	return func() {
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGCONT)
		}
	}
}

// processesOf are a pod's by name. Only those of this pid namespace are seen.
func (g *game) processesOf(p pod, command string) (pids []int) {
	status, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, f := range status {
		comm, _ := os.ReadFile(f)
		group, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cgroup"))
		// a process' name is cut after 15 letters
		if name := strings.TrimSpace(string(comm)); name == command[:min(15, len(command))] && strings.Contains(string(group), p.uid) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	g.require(len(pids) > 0, "harness: no process", command, "of", p.String())
	return pids
}

// holdFile keeps a pod's Secret volume as it is, as a kubelet does that lags behind: its tmpfs takes no more writes. For good: kubelet
// gives up that tmpfs after the first failed write and makes another, which the running container never sees; only a new pod does.
func (g *game) holdFile(p pod, volume string) {
	dir := filepath.Join(os.Getenv("STATE"), "kubelet", "pods", p.uid, "volumes", "kubernetes.io~secret", volume)
	g.must("mount", "-o", "remount,ro", dir)
}

// idle is a server that nobody calls, with a proxy of its own: what is done to it harms no request.
func (g *game) idle(ns string) (pod, func()) {
	spec := g.kubectl("-n", ns, "get", "deploy", "server", "-o", "yaml")
	lines := slices.DeleteFunc(strings.Split(spec, "\n"), func(l string) bool {
		return strings.Contains(l, "uid:") || strings.Contains(l, "resourceVersion:") || strings.Contains(l, "last-applied") || strings.Contains(l, `{"apiVersion"`)
	})
	text := strings.ReplaceAll(strings.ReplaceAll(strings.Join(lines, "\n"), "app: server", "app: idle"), "name: server", "name: idle")
	g.pipe(text, "kubectl", "-n", ns, "create", "-f", "-")
	g.kubectl("-n", ns, "rollout", "status", "deploy/idle", "--timeout=60s")
	p := g.podsOf(ns, "app=idle")[0]
	return p, func() {
		g.kubectl("-n", ns, "delete", "deploy", "idle")
		g.kubectl("-n", ns, "wait", "--for=delete", "pod/"+p.name, "--timeout=60s")
	}
}
