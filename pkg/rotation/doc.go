// Package rotation replaces the root CA of a mesh.
//
// NewPlan is pure: from a Snapshot and the new CA it decides which strategy is
// possible, which steps it takes, and what each step must have brought about
// before the next may begin. Engine makes the plan so: it writes one thing, waits
// until every live proxy, replica, ConfigMap and webhook proves it, and only then
// goes on. It says what it does as one stream of Events; printers and the wizard
// observe them.
package rotation
