// Package mesh collects what a cluster holds about the trust of its mesh into
// one Snapshot: control planes, the source of their CA, trust ConfigMaps,
// webhooks, proxies and what each of them has loaded.
//
// A Snapshot is all that a decision needs at one moment, without any private
// key and without annotations of Secrets. A part that could not be read carries
// its own error; that is a fact in the Snapshot, not a failure of the collection.
package mesh
