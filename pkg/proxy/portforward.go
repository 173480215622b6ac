package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"                     //nolint:staticcheck // client-go 0.37's dialers still return its errors and connections
	httpstreamspdy "k8s.io/apimachinery/pkg/util/httpstream/spdy" //nolint:staticcheck // likewise
	utilnet "k8s.io/apimachinery/pkg/util/net"
	constants "k8s.io/apimachinery/pkg/util/portforward"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/transport/websocket"
	streaming "k8s.io/streaming/pkg/httpstream"
)

// PortForward dials pods through the API server's portforward subresource, the
// way kubectl port-forward does, but within this process and without a listener.
type PortForward struct {
	config *rest.Config
	kube   kubernetes.Interface
	// sessions are shared with the requests of kube: every forward is a connection of
	// its own, and a resumed TLS session spares both ends the signatures of a new one.
	sessions tls.ClientSessionCache
}

// NewPortForward makes a Dialer for the cluster of config.
func NewPortForward(config *rest.Config, kube kubernetes.Interface) (*PortForward, error) {
	p := &PortForward{config: config, kube: kube, sessions: tls.NewLRUClientSessionCache(0)}
	if client, ok := kube.CoreV1().RESTClient().(*rest.RESTClient); ok && client.Client != nil {
		p.resume(client.Client.Transport)
	}
	// What is wrong with config is said now, and not for each pod.
	if _, err := p.dialer(&url.URL{}); err != nil {
		return nil, err
	}
	return p, nil
}

// resume has a transport take part in sessions, or the reverse where it has its own.
// A transport without TLS, or of an unknown kind, has none to resume.
func (p *PortForward) resume(transport http.RoundTripper) {
	config, err := utilnet.TLSClientConfig(transport)
	switch {
	case err != nil || config == nil:
	case config.ClientSessionCache == nil:
		config.ClientSessionCache = p.sessions
	default:
		p.sessions = config.ClientSessionCache
	}
}

// DialPod opens a stream to port on the pod's loopback: by WebSocket, and by SPDY
// where the API server (before 1.30) or a proxy in between does not take that.
func (p *PortForward) DialPod(ctx context.Context, pod Pod, port int) (net.Conn, error) {
	target := p.kube.CoreV1().RESTClient().Post().Resource("pods").
		Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	dialer, err := p.dialer(target)
	if err != nil {
		return nil, err
	}
	type dialed struct {
		connection httpstream.Connection
		err        error
	}
	// httpstream's dialers take no context: the caller's is honoured by leaving,
	// and a connection that arrives too late is closed by whoever receives it.
	arrived := make(chan dialed, 1)
	go func() {
		connection, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		arrived <- dialed{connection, err}
	}()
	select {
	case <-ctx.Done():
		go func() {
			if late := <-arrived; late.connection != nil {
				_ = late.connection.Close()
			}
		}()
		return nil, fmt.Errorf("port-forward to %s: %w", pod, context.Cause(ctx))
	case d := <-arrived:
		if d.err != nil {
			return nil, fmt.Errorf("port-forward to %s: %w", pod, d.err)
		}
		return open(d.connection, pod, port)
	}
}

func (p *PortForward) dialer(target *url.URL) (httpstream.Dialer, error) {
	wrapped, upgrade, err := websocket.RoundTripperFor(p.config)
	if err != nil {
		return nil, fmt.Errorf("preparing port-forward: %w", err)
	}
	p.resume(wrapped)
	tunnel := &tunnel{target: target, transport: wrapped, upgrade: upgrade}
	// Of its own for each pod: SPDY's round tripper keeps the connection that it has
	// made last, and two dials that shared it could get each other's
	// (k8s.io/streaming pkg/httpstream/spdy, SpdyRoundTripper.conn).
	transport, upgrader, err := spdy.RoundTripperFor(p.config)
	if err != nil {
		return nil, fmt.Errorf("preparing port-forward: %w", err)
	}
	p.resume(transport)
	legacy := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, target)
	return portforward.NewFallbackDialer(tunnel, legacy, refusesWebSocket), nil
}

// tunnel dials SPDY within a WebSocket: what portforward.NewSPDYOverWebsocketDialer
// does, whose transport cannot be given TLS sessions.
type tunnel struct {
	target    *url.URL
	transport http.RoundTripper
	upgrade   websocket.ConnectionHolder
}

func (t *tunnel) Dial(protocols ...string) (httpstream.Connection, string, error) {
	request, err := http.NewRequest(http.MethodGet, t.target.String(), nil) //nolint:noctx // DialPod leaves it, as it does SPDY's
	if err != nil {
		return nil, "", err
	}
	offered := make([]string, len(protocols))
	for i, protocol := range protocols {
		offered[i] = constants.WebsocketsSPDYTunnelingPrefix + protocol
	}
	connection, err := websocket.Negotiate(t.transport, t.upgrade, request, offered...)
	if err != nil {
		return nil, "", err
	}
	protocol := strings.TrimPrefix(connection.Subprotocol(), constants.WebsocketsSPDYTunnelingPrefix)
	spdy, err := httpstreamspdy.NewClientConnectionWithPings(portforward.NewTunnelingConnection("client", connection), portforward.PingPeriod)
	return spdy, protocol, err
}

// refusesWebSocket reports whether SPDY is worth a try after err. An API server
// that asks for the verb "get" on a WebSocket's GET refuses a role that allows
// "create" only, which SPDY's POST needs: that is a failed upgrade too. Both
// packages are asked, because the dialers return the errors of either.
func refusesWebSocket(err error) bool {
	return httpstream.IsUpgradeFailure(err) || streaming.IsUpgradeFailure(err) ||
		httpstream.IsHTTPSProxyError(err) || streaming.IsHTTPSProxyError(err)
}

// open makes the pair of streams that one forwarded connection consists of.
func open(connection httpstream.Connection, pod Pod, port int) (net.Conn, error) {
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	failure, err := connection.CreateStream(headers)
	if err == nil {
		_ = failure.Close() // our half: nothing is ever written to the error stream
		headers.Set(corev1.StreamType, corev1.StreamTypeData)
		var data httpstream.Stream
		if data, err = connection.CreateStream(headers); err == nil {
			return newStreamConn(connection, data, failure, pod, port), nil
		}
	}
	_ = connection.Close()
	return nil, fmt.Errorf("port-forward to %s, port %d: %w", pod, port, err)
}

// streamConn is a net.Conn over a forwarded stream.
type streamConn struct {
	httpstream.Stream
	connection httpstream.Connection
	address    streamAddr
	watched    chan struct{} // closed when the error stream has ended
	failure    error         // kubelet's words; read only after watched
	closeOnce  sync.Once
}

func newStreamConn(connection httpstream.Connection, data, failure httpstream.Stream, pod Pod, port int) *streamConn {
	c := &streamConn{Stream: data, connection: connection, address: streamAddr(pod.String() + ":" + strconv.Itoa(port)), watched: make(chan struct{})}
	go c.watch(failure)
	return c
}

// watch reads the error stream, on which kubelet says that the port refused.
func (c *streamConn) watch(failure httpstream.Stream) {
	defer close(c.watched)
	message := make([]byte, 1024) // kubelet's sentence; the rest would be cut anyway
	n := 0
	for n < len(message) {
		m, err := failure.Read(message[n:])
		n += m
		if err != nil {
			break
		}
	}
	if n > 0 {
		c.failure = fmt.Errorf("port-forward to %s: %s", c.address, message[:n])
		_ = c.Close()
	}
}

func (c *streamConn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	if err == nil || n > 0 {
		return n, err
	}
	// Kubelet's own words say more than the end of the stream, and the error stream
	// ends with the data stream; Close ends it too, so this wait cannot outlive the
	// caller's context.
	<-c.watched
	if c.failure != nil {
		return 0, c.failure
	}
	return 0, err
}

func (c *streamConn) Close() error {
	var err error
	c.closeOnce.Do(func() {
		_ = c.Reset()
		err = c.connection.Close()
	})
	return err
}

func (c *streamConn) LocalAddr() net.Addr  { return streamAddr("portforward") }
func (c *streamConn) RemoteAddr() net.Addr { return c.address }

// Deadlines are not supported by the streams below: callers bound a read by its
// context, which closes the connection.
func (c *streamConn) SetDeadline(time.Time) error      { return nil }
func (c *streamConn) SetReadDeadline(time.Time) error  { return nil }
func (c *streamConn) SetWriteDeadline(time.Time) error { return nil }

type streamAddr string

func (a streamAddr) Network() string { return "portforward" }
func (a streamAddr) String() string  { return string(a) }
