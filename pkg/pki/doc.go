// Package pki treats certificates as values: what they are, which bundle they
// come from, who would accept them, and how new ones are made.
//
// It knows nothing of Kubernetes, of flags or of a terminal. Nothing in it
// reads the wall clock: every function whose answer depends on time takes the
// time as an argument.
//
// Private keys exist here only as crypto.Signer values inside an Authority, and
// leave the package in one of two forms: sealed with age (Seal), or as PEM for
// the one Secret that istiod reads (Authority.KeyPEM).
package pki
