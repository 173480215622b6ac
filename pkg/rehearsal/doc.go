// Package rehearsal is a mesh in memory, behind the same two interfaces as a
// cluster: kubernetes.Interface and proxy.Dialer. Its certificates, TLS and
// judges are real; its istiods, kubelets and proxies follow the rules that were
// read in Istio's source and seen on a real mesh. Nothing in it sleeps: it runs on
// the clock it is given.
package rehearsal
