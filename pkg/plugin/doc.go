// Package plugin is the command line: it turns flags into typed configuration
// once, runs the packages below it and prints what they found.
//
// Output contract: the result goes to stdout and nothing else does; progress,
// warnings and errors go to stderr. An error is one line "error: ..." in lower
// case that names the object, and where something can be done about it one line
// "hint: ..." after it. Nothing that the cluster says reaches a terminal
// unescaped.
package plugin
