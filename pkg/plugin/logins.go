package plugin

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"k8s.io/client-go/kubernetes"
)

// logins are what the login programs of a kubeconfig say: the exec entries of its users,
// a cloud's or an identity provider's. client-go has them write on this process's own
// standard error, as it stands when the first client is made (client-go 0.37.2
// plugin/pkg/client/auth/exec/exec.go:214), and so across a screen.
type logins struct {
	out  io.Writer
	said chan string

	mu   sync.Mutex
	held bool
	kept []byte // what came while a screen was there
}

// logIn has the login program of the kubeconfig, where there is one, ask what it has to
// ask before the wizard does. From then on nobody answers it: the keys are the wizard's.
// Where there is a screen, what it says is told by said, and written once that is gone.
// A failure is left to the first look, which tells it.
func (c *cluster) logIn(ctx context.Context, out io.Writer, screen bool) (said <-chan string, release func()) {
	release = func() {}
	config, err := c.config()
	if c.rehearsed != nil || err != nil || config.ExecProvider == nil {
		return nil, release
	}
	if screen {
		l := &logins{out: out, said: make(chan string, 1)}
		if release, err = l.listen(); err != nil {
			return nil, func() {}
		}
		said = l.said
		defer l.hold(true)
	}
	if kube, err := kubernetes.NewForConfig(config); err == nil {
		_ = greet(ctx, kube)
	}
	shown, answered := release, noAnswers() // release is what is returned
	return said, func() {
		shown()
		answered()
	}
}

// greet makes one request that asks for no permission: who has to log in does so for it.
func greet(ctx context.Context, kube kubernetes.Interface) error {
	return kube.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Error()
}

// listen stands in for standard error, until release gives back what has been kept.
func (l *logins) listen() (release func(), err error) {
	from, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	was := os.Stderr
	os.Stderr = to // the one way in: exec.go offers no other
	go l.read(from)
	return func() {
		os.Stderr = was
		l.hold(false)
		_ = to.Close()
	}, nil
}

// noAnswers takes the terminal from programs that log in. client-go asks each time
// whether standard input is one, and keeps what it has got so far (exec.go:249, :252);
// of a client told StdinUnavailable it would keep nothing: that is another user to it.
func noAnswers() (release func()) {
	none, err := os.Open(os.DevNull)
	if err != nil {
		return func() {}
	}
	was := os.Stdin
	os.Stdin = none
	return func() {
		os.Stdin = was
		_ = none.Close()
	}
}

// read ends where the last program that writes has.
func (l *logins) read(from io.ReadCloser) {
	defer func() { _ = from.Close() }()
	chunk := make([]byte, 4096)
	for {
		n, err := from.Read(chunk)
		if n > 0 {
			l.take(chunk[:n])
		}
		if err != nil {
			return
		}
	}
}

// take passes text on, or keeps it while a screen is there: whoever draws that is told
// the newest of it, and never waited for.
func (l *logins) take(text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held {
		_, _ = l.out.Write(text) // as the program itself would have
		return
	}
	l.kept = append(l.kept, text...)
	select {
	case <-l.said:
	default:
	}
	l.said <- string(l.kept[max(0, len(l.kept)-mostSaid):])
}

// mostSaid is how much of what a program has said is told, in bytes: its end.
const mostSaid = 240

func (l *logins) hold(held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held = held; !held && len(l.kept) > 0 {
		fmt.Fprintln(l.out, "the kubeconfig's login program said:")
		for line := range strings.Lines(string(l.kept)) {
			fmt.Fprintln(l.out, plain(strings.TrimRight(line, "\r\n")))
		}
		l.kept = nil
	}
}
