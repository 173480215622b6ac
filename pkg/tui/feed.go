package tui

import (
	"context"
	"sync"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// feed carries the Events of a rotation to the screen. The rotation never waits
// for the terminal: what comes faster than it is drawn comes in one piece.
type feed struct {
	mu     sync.Mutex
	events []rotation.Event
	ended  bool
	err    error
	news   chan struct{}
}

func newFeed() *feed { return &feed{news: make(chan struct{}, 1)} }

func (f *feed) emit(e rotation.Event) {
	f.mu.Lock()
	f.events = append(f.events, e)
	f.mu.Unlock()
	f.wake()
}

func (f *feed) end(err error) {
	f.mu.Lock()
	f.ended, f.err = true, err
	f.mu.Unlock()
	f.wake()
}

func (f *feed) wake() {
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// eventsMsg is what has happened since the last one.
type eventsMsg struct {
	events []rotation.Event
	ended  bool
	err    error
}

// next waits for news.
func (f *feed) next(ctx context.Context) tea.Cmd {
	return func() tea.Msg {
		select {
		case <-f.news:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return nil // nobody draws any more: drain takes it
		}
		return f.rest()
	}
}

// rest is what nobody has taken yet.
func (f *feed) rest() eventsMsg {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := eventsMsg{events: f.events, ended: f.ended, err: f.err}
	f.events = nil
	return m
}
