package rehearsal

import (
	"errors"
	"io"
	"net/url"
	"sync"
)

// Fault is what goes wrong with a call from outside: to the API server, or a dial.
type Fault struct {
	// Verb and Resource are those of the API ("update", "secrets"), or "dial" and
	// "proxy" or "istiod"; "" is any.
	Verb, Resource string
	// Skip is how many such calls go well first, Times how many fail then; 0 is one,
	// below that all.
	Skip, Times int
	// Err is what the caller gets. Lost says that the server has done what was asked
	// and only its answer did not arrive; of a watch, that the server closes it at once.
	// The product watches nothing, it reads again: who does without watches cannot miss
	// what one that is closed would have told.
	Err  error
	Lost bool
}

// ErrCut is what a process that was killed would get, if it still could.
var ErrCut = errors.New("the connection is cut")

// ErrWatchClosed is what a list or a watch gets whose connection the server has closed.
var ErrWatchClosed = &url.Error{Op: "Get", URL: "https://rehearsal", Err: io.ErrUnexpectedEOF}

// faults may be asked with any lock held.
type faults struct {
	mu    sync.Mutex
	all   []*Fault
	cut   bool
	calls int
	// kill is called at the call that it counts down to.
	left int
	kill func()
}

// meets is the fault that this call meets, nil where it goes well.
func (f *faults) meets(verb, resource string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.cut {
		return &Fault{Err: ErrCut}
	}
	if f.kill != nil {
		if f.left--; f.left <= 0 {
			f.cut = true
			f.kill()
			f.kill = nil
			return &Fault{Err: ErrCut}
		}
	}
	for _, fault := range f.all {
		if fault.Verb != "" && fault.Verb != verb || fault.Resource != "" && fault.Resource != resource {
			continue
		}
		if fault.Skip--; fault.Skip >= 0 {
			continue
		}
		if fault.Times > 0 {
			if fault.Times--; fault.Times == 0 {
				fault.Times, fault.Skip = 1, 1<<30
			}
		}
		return &Fault{Err: fault.Err, Lost: fault.Lost}
	}
	return nil
}

// Calls is how many calls from outside there were.
func (m *Mesh) Calls() int {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	return m.faults.calls
}

// Inject adds a fault.
func (m *Mesh) Inject(f Fault) {
	if f.Times == 0 {
		f.Times = 1
	}
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.all = append(m.faults.all, &f)
}

// Kill cuts everybody off from the n-th call on, the first being 1, and calls then:
// what a process meets that is killed there. Mend ends this, and all faults.
func (m *Mesh) Kill(n int, then func()) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.left, m.faults.kill = n, then
}

// Mend takes back Inject and Kill.
func (m *Mesh) Mend() {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.all, m.faults.cut, m.faults.kill = nil, false, nil
}
