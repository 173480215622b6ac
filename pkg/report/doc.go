// Package report lays out the evidence of a rotation for people who were not there:
// who did what and when, which gates have opened on what evidence, what every live
// proxy has loaded, and what is not proven. It is pure; what it renders escapes
// everything that a cluster says.
package report
