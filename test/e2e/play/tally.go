package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// count is what a client says of itself once a second.
type count struct {
	T          time.Time `json:"t"`
	OK, Failed int
	By         map[string]int `json:"by"`
}

// clients reads the last line of every client's log on the node, by file: a restarted client writes another one.
func clients() map[string]count {
	files, _ := filepath.Glob("/var/log/pods/*_client-*/app/*.log")
	all := map[string]count{}
	for _, f := range files {
		if c, ok := last(f); ok {
			all[f] = c
		}
	}
	return all
}

func last(file string) (c count, ok bool) {
	f, err := os.Open(file)
	if err != nil {
		return c, false
	}
	defer f.Close()
	const tail = 16 << 10
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		f.Seek(max(0, end-tail), io.SeekStart)
	}
	text, _ := io.ReadAll(io.LimitReader(f, tail))
	for _, line := range slices.Backward(bytes.Split(bytes.TrimSpace(text), []byte("\n"))) {
		// time, stream and a mark stand before what the container wrote
		if i := bytes.IndexByte(line, '{'); i >= 0 && json.Unmarshal(line[i:], &c) == nil {
			return c, true
		}
	}
	return c, false
}

// tally counts the requests of all clients between its start and its end.
type tally struct {
	mu          sync.Mutex
	first, seen map[string]count
	stop        chan struct{}
	done        sync.WaitGroup
	began       time.Time
}

func startTally() *tally {
	t := &tally{first: clients(), seen: clients(), stop: make(chan struct{}), began: time.Now()}
	t.done.Go(func() {
		tick := time.NewTicker(400 * time.Millisecond) // a pod that goes takes its log with it
		defer tick.Stop()
		for {
			select {
			case <-t.stop:
				return
			case <-tick.C:
				t.read()
			}
		}
	})
	return t
}

func (t *tally) read() {
	now := clients()
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.Copy(t.seen, now)
}

// sum is what has been counted until now.
func (t *tally) sum() traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := traffic{by: map[string]int{}, seconds: time.Since(t.began).Seconds()}
	for f, c := range t.seen {
		z := t.first[f]
		s.ok += c.OK - z.OK
		s.failed += c.Failed - z.Failed
		for why, n := range c.By {
			if n -= z.By[why]; n > 0 {
				s.by[clip(why, 90)] += n
			}
		}
	}
	return s
}

// end waits until every living client has spoken once more, so that the last second's requests are in, and stops counting.
func (t *tally) end() traffic {
	at := time.Now()
	for time.Since(at) < 8*time.Second {
		late := false
		for _, c := range clients() {
			late = late || c.T.Before(at.Truncate(time.Second).Add(time.Second))
		}
		if !late {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	close(t.stop)
	t.done.Wait()
	t.read()
	return t.sum()
}

type traffic struct {
	ok, failed int
	by         map[string]int
	seconds    float64
}

func (s traffic) requests() int { return s.ok + s.failed }

func (s traffic) String() string {
	return fmt.Sprintf("%d of %d requests failed (%.1f %%) in %.0f s", s.failed, s.requests(), 100*float64(s.failed)/float64(max(1, s.requests())), s.seconds)
}

// why lists the reasons, the most frequent first.
func (s traffic) why() string {
	keys := slices.SortedFunc(maps.Keys(s.by), func(a, b string) int { return s.by[b] - s.by[a] })
	var out []string
	for _, k := range keys[:min(2, len(keys))] {
		out = append(out, fmt.Sprintf("%d x %s", s.by[k], k))
	}
	return strings.Join(out, "; ")
}

func reasons(all map[string]count) []string {
	var out []string
	for f, c := range all {
		out = append(out, fmt.Sprintf("%s: %d ok, %d failed", strings.Split(f, "/")[4], c.OK, c.Failed))
	}
	slices.Sort(out)
	return out
}
