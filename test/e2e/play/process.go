package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"sync"
	"time"
)

// event is a line of rotate -o json, as far as a row asks.
type event struct {
	Kind                         string `json:"event"`
	Phase, Step, Object, Message string
}

// process is the product under way, with the events that it has told.
type process struct {
	c      *exec.Cmd
	mu     sync.Mutex
	events []event
	done   chan struct{}
}

// start runs the product, with -o json among args, in the background.
func (g *game) start(args ...string) *process {
	p := &process{c: exec.CommandContext(g.ctx, "kubectl-meshca", args...), done: make(chan struct{})}
	out, write := io.Pipe()
	p.c.Stdout, p.c.Stderr = io.MultiWriter(g.log, write), g.log
	g.require(p.c.Start() == nil, "harness: cannot start the product")
	go func() {
		defer close(p.done)
		_ = p.c.Wait()
		write.Close()
	}()
	go func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				p.mu.Lock()
				p.events = append(p.events, e)
				p.mu.Unlock()
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	return p
}

func (p *process) pid() int { return p.c.Process.Pid }

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// last is what it told last.
func (p *process) last() (e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.events); n > 0 {
		e = p.events[n-1]
	}
	return e
}

func (p *process) told(is func(event) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if is(e) {
			return true
		}
	}
	return false
}

// until waits for an event, or until the product has ended as it should.
func (p *process) until(g *game, what string, max time.Duration, is func(event) bool) {
	for end := time.Now().Add(max); !p.told(is); time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.done:
			code := p.c.ProcessState.ExitCode()
			g.require(code == 0 || p.told(is), "the product ended before", what+": exit", itoa(code))
			return
		default:
		}
		g.require(time.Now().Before(end) && g.ctx.Err() == nil, "not", what, "within", max.String())
	}
}

// end kills the process after a time, unless it has ended by then.
func (p *process) end(g *game, after time.Duration) (killed bool, code int) {
	select {
	case <-p.done:
	case <-time.After(after):
		_ = p.c.Process.Kill()
		<-p.done
	}
	return !p.c.ProcessState.Exited(), p.c.ProcessState.ExitCode()
}
