package plugin

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// constant is one of a source file, with the comment beside it.
type constant struct{ value, about string }

// constants reads those of a file whose names begin so, of the values written out.
func constants(t *testing.T, file, prefix string) (all []constant) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	about := ""
	ast.Inspect(parsed, func(n ast.Node) bool {
		decl, ok := n.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			return true
		}
		for _, spec := range decl.Specs {
			v := spec.(*ast.ValueSpec)
			if len(v.Values) != 1 || !strings.HasPrefix(v.Names[0].Name, prefix) {
				continue
			}
			switch {
			case v.Comment != nil:
				about = v.Comment.Text()
			case v.Doc != nil:
				about = v.Doc.Text()
				if _, rest, ok := strings.Cut(about, ": "); ok {
					about = rest
				}
			}
			all = append(all, constant{value: textOf(v.Values[0]), about: strings.TrimSpace(about)})
		}
		return false
	})
	if len(all) == 0 {
		t.Fatalf("%s has no constants", file)
	}
	return all
}

// hint is one ID with its severity, cause and remedy.
type hint struct{ id, severity, cause, remedy string }

// findingsOf reads the Findings that a package's source writes out.
func findingsOf(t *testing.T, folder string) (all []hint) {
	t.Helper()
	inspect(t, folder, func(n ast.Node) {
		if call, ok := n.(*ast.CallExpr); ok && len(call.Args) >= 4 {
			if of, ok := call.Fun.(*ast.Ident); ok && of.Name == "add" { // add(id, severity, hint, format, ...)
				verbs := &ast.CallExpr{Fun: &ast.SelectorExpr{X: of, Sel: ast.NewIdent("Sprintf")}, Args: call.Args[3:]}
				if h := (hint{textOf(call.Args[0]), severityOf(call.Args[1]), textOf(verbs), textOf(call.Args[2])}); h.severity != "…" {
					all = append(all, h)
				}
			}
		}
		literal, ok := n.(*ast.CompositeLit)
		if !ok {
			return
		}
		h := hint{}
		for _, e := range literal.Elts {
			pair, ok := e.(*ast.KeyValueExpr)
			if !ok {
				return
			}
			key, ok := pair.Key.(*ast.Ident)
			if !ok {
				return
			}
			switch key.Name {
			case "ID":
				h.id = textOf(pair.Value)
			case "Severity":
				h.severity = severityOf(pair.Value)
			case "Message":
				h.cause = textOf(pair.Value)
			case "Hint":
				h.remedy = textOf(pair.Value)
			case "About":
				return // a rule
			}
		}
		if h.id != "" && h.id != "…" && h.severity != "" {
			all = append(all, h)
		}
	})
	return all
}

// refusalsOf reads the calls of refuse and warn of a package's source.
func refusalsOf(t *testing.T, folder string) (all []hint) {
	t.Helper()
	inspect(t, folder, func(n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 4 {
			return
		}
		of, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || of.Sel.Name != "refuse" && of.Sel.Name != "warn" {
			return
		}
		h := hint{id: textOf(call.Args[0]), severity: "error", cause: textOf(call.Args[2]), remedy: textOf(call.Args[3])}
		if of.Sel.Name == "warn" {
			h.severity = "warning"
		}
		if name, ok := call.Args[0].(*ast.Ident); ok && name.Name == "Ambient" {
			h.id = "ambient"
		}
		if h.id != "…" {
			all = append(all, h)
		}
	})
	return all
}

func inspect(t *testing.T, folder string, visit func(ast.Node)) {
	t.Helper()
	packages, err := parser.ParseDir(token.NewFileSet(), folder, func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		names := make([]string, 0, len(p.Files))
		for name := range p.Files {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			ast.Inspect(p.Files[name], func(n ast.Node) bool { visit(n); return true })
		}
	}
}

func severityOf(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		if word, ok := strings.CutPrefix(s.Sel.Name, "Severity"); ok {
			return strings.ToLower(word)
		}
	}
	return "…"
}

// textOf is what an expression says, as far as it is written out.
func textOf(e ast.Expr) string {
	verbs := regexp.MustCompile(`%[+#]?[0-9.]*[a-zA-Z]`)
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			if s, err := strconv.Unquote(e.Value); err == nil {
				return s
			}
		}
		return e.Value
	case *ast.BinaryExpr:
		return strings.ReplaceAll(textOf(e.X)+textOf(e.Y), "……", "…")
	case *ast.CallExpr:
		if of, ok := e.Fun.(*ast.SelectorExpr); ok && of.Sel.Name == "Sprintf" && len(e.Args) > 0 {
			return verbs.ReplaceAllString(textOf(e.Args[0]), "…")
		}
	}
	return "…"
}
