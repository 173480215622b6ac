// Package tui is the wizard: five steps from a check to the proof that every
// Envoy has loaded the new root. It shows what a Backend found and sends it what
// the flags could have asked for as well; it decides nothing about trust. It is the
// only package that draws on a terminal, and it knows no flag.
//
// What it draws: one sentence each for what was found, what comes next, what it
// costs and what a stop means, then the evidence, then the keys. A symbol carries
// every verdict; colour repeats it. Text of the cluster passes plain.Line before
// it is drawn.
package tui
