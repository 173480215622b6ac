package proxy

import (
	"context"
	"net"
)

// Pod names one pod.
type Pod struct {
	Namespace, Name string
}

// String is namespace/name, the way kubectl users write it.
func (p Pod) String() string { return p.Namespace + "/" + p.Name }

// Dialer opens a connection to a port on the loopback interface of a pod.
// It is one of the only two ways out of the program (the other is
// kubernetes.Interface).
type Dialer interface {
	DialPod(ctx context.Context, pod Pod, port int) (net.Conn, error)
}
