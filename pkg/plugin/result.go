package plugin

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// outputs are the formats of every result.
func outputs() []string { return []string{"table", "wide", "json", "yaml", "name"} }

// outputFlag adds -o to a command that has a result.
func outputFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVarP(into, "output", "o", "table", "one of "+strings.Join(outputs(), ", "))
	completions(cmd, "output", outputs()...)
}

func validOutput(format string) error {
	if !slices.Contains(outputs(), format) {
		return usage(fmt.Errorf("unknown output format %q", format), "use one of "+strings.Join(outputs(), ", "))
	}
	return nil
}

// result is what a command prints on stdout.
type result interface {
	// rows is the table, its header first; wide asks for more columns.
	rows(wide bool) [][]string
	// names is one line for each item, for scripts.
	names() []string
}

// printResult writes a result in one of the formats of outputs. Cells are escaped
// here and nowhere else.
func printResult(w io.Writer, format string, r result) error {
	var err error
	switch format {
	case "json":
		err = writeJSON(w, r, "  ")
	case "yaml":
		var raw []byte
		if raw, err = yamlOf(r); err == nil {
			_, err = w.Write(raw)
		}
	case "name":
		for _, name := range r.names() {
			if _, err = fmt.Fprintln(w, plain(name)); err != nil {
				break
			}
		}
	default:
		err = printRows(w, r.rows(format == "wide"))
	}
	if err != nil {
		return failed(fmt.Errorf("writing the result: %w", err), "")
	}
	return nil
}

// printRows lays a table out; a row of one cell is a line of its own.
func printRows(w io.Writer, rows [][]string) error {
	var text strings.Builder
	columns := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = plain(cmp.Or(cell, "-"))
		}
		if row[0] == "" || len(row) == 1 { // a line that belongs to the one above
			cells[0] = plain(row[0])
		}
		fmt.Fprintln(columns, strings.Join(cells, "\t"))
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, text.String())
	return err
}
