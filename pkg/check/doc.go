// Package check holds what is known about meshes against a Snapshot: rules as
// data, pure, each with an ID, a category, a severity and a hint.
package check
