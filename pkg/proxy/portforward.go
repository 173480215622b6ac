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
	"k8s.io/client-go/transport"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/transport/websocket"
	streaming "k8s.io/streaming/pkg/httpstream"
)

// PortForward dials pods through the API server's portforward subresource, the
// way kubectl port-forward does, but within this process and without a listener.
type PortForward struct {
	kube kubernetes.Interface
	// requests is what a request to the API server carries besides TLS.
	requests *transport.Config
	// client is kube's own transport, or one like it: a forward's TLS is its.
	client http.RoundTripper
	proxy  func(*http.Request) (*url.URL, error)
}

// NewPortForward makes a Dialer for the cluster of config.
func NewPortForward(config *rest.Config, kube kubernetes.Interface) (*PortForward, error) {
	requests, err := config.TransportConfig()
	if err != nil {
		return nil, fmt.Errorf("preparing port-forward: %w", err)
	}
	p := &PortForward{kube: kube, requests: requests, proxy: config.Proxy}
	if p.proxy == nil {
		p.proxy = utilnet.NewProxierWithNoProxyCIDR(http.ProxyFromEnvironment)
	}
	if client, ok := kube.CoreV1().RESTClient().(*rest.RESTClient); ok && client.Client != nil {
		p.client = client.Client.Transport
	}
	shared, err := utilnet.TLSClientConfig(p.client)
	if err != nil || p.client == nil { // one whose TLS cannot be seen, or none
		if shared, err = transport.TLSConfigFor(requests); err != nil {
			return nil, fmt.Errorf("preparing port-forward: %w", err)
		}
		p.client = &http.Transport{TLSClientConfig: shared}
	}
	// Every forward is a connection of its own, and a resumed TLS session, of kube's
	// requests too, spares both ends the signatures of a new one.
	if shared != nil && shared.ClientSessionCache == nil {
		shared.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	// What is wrong with config is said now, and not for each pod.
	if _, err := p.wrap(p.client); err != nil {
		return nil, err
	}
	return p, nil
}

// tls is the client's configuration as it is now, for one forward: to read the
// key and the CAs anew for each costs more than its handshake. An upgrade needs
// HTTP/1.1. nil where the client has none, as by plain HTTP.
func (p *PortForward) tls() *tls.Config {
	shared, err := utilnet.TLSClientConfig(p.client)
	if err != nil || shared == nil {
		return nil
	}
	own := shared.Clone()
	own.NextProtos = nil
	return own
}

// wrap has a transport say who asks.
func (p *PortForward) wrap(next http.RoundTripper) (http.RoundTripper, error) {
	wrapped, err := transport.HTTPWrappersForConfig(p.requests, next)
	if err != nil {
		return nil, fmt.Errorf("preparing port-forward: %w", err)
	}
	return wrapped, nil
}

// DialPod opens a stream to port on the pod's loopback: by WebSocket, and by SPDY
// where the API server (before 1.30) or a proxy in between does not take that.
func (p *PortForward) DialPod(ctx context.Context, pod Pod, port int) (net.Conn, error) {
	target := p.kube.CoreV1().RESTClient().Post().Resource("pods").
		Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	dialer := portforward.NewFallbackDialer(byWebSocket{p, target}, bySPDY{p, target}, refusesWebSocket)
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

// byWebSocket dials SPDY within a WebSocket: what
// portforward.NewSPDYOverWebsocketDialer does, which reads the key and the CAs anew
// each time and cannot be given TLS sessions.
type byWebSocket struct {
	*PortForward
	target *url.URL
}

func (d byWebSocket) Dial(protocols ...string) (httpstream.Connection, string, error) {
	upgrade := &websocket.RoundTripper{TLSConfig: d.tls(), Proxier: d.proxy}
	wrapped, err := d.wrap(upgrade)
	if err != nil {
		return nil, "", err
	}
	request, err := http.NewRequest(http.MethodGet, d.target.String(), nil) //nolint:noctx // DialPod leaves it, as it does SPDY's
	if err != nil {
		return nil, "", err
	}
	offered := make([]string, len(protocols))
	for i, protocol := range protocols {
		offered[i] = constants.WebsocketsSPDYTunnelingPrefix + protocol
	}
	connection, err := websocket.Negotiate(wrapped, upgrade, request, offered...)
	if err != nil {
		return nil, "", err
	}
	protocol := strings.TrimPrefix(connection.Subprotocol(), constants.WebsocketsSPDYTunnelingPrefix)
	spdy, err := httpstreamspdy.NewClientConnectionWithPings(portforward.NewTunnelingConnection("client", connection), portforward.PingPeriod)
	return spdy, protocol, err
}

// bySPDY dials SPDY alone, as kubectl did before 1.31.
type bySPDY struct {
	*PortForward
	target *url.URL
}

func (d bySPDY) Dial(protocols ...string) (httpstream.Connection, string, error) {
	// Of its own for each pod: SPDY's round tripper keeps the connection that it has
	// made last, and two dials that shared it could get each other's
	// (k8s.io/streaming pkg/httpstream/spdy, SpdyRoundTripper.conn).
	upgrade, err := httpstreamspdy.NewRoundTripperWithConfig(httpstreamspdy.RoundTripperConfig{TLS: d.tls(), Proxier: d.proxy, PingPeriod: portforward.PingPeriod})
	if err != nil {
		return nil, "", fmt.Errorf("preparing port-forward: %w", err)
	}
	wrapped, err := d.wrap(upgrade)
	if err != nil {
		return nil, "", err
	}
	return spdy.NewDialer(upgrade, &http.Client{Transport: wrapped}, http.MethodPost, d.target).Dial(protocols...)
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
