package integration

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/mycel-rpc/mycel"

// levels are those of "Where code goes": an import goes to a lower level only.
var levels = map[string]int{
	"wire": 0, "dedup": 0,
	"streams": 1,
	"pool":    2, "largeobj": 2,
	"framework": 3,
	"examples":  4, "bench": 4, "integration": 4,
}

// importViolation returns why a package in the directory dir of the module must not import imported, "" if it may.
func importViolation(dir, imported string) string {
	room, _, _ := strings.Cut(dir, "/")
	level, known := levels[room]
	if !known {
		return fmt.Sprintf("%s has no level: new packages go into one of the rooms", dir)
	}
	if strings.HasPrefix(imported, "github.com/quic-go/") && room != "streams" {
		return "only streams imports quic-go, so that another transport can stand in"
	}
	if level == 0 && (imported == "net" || strings.HasPrefix(imported, "net/") && imported != "net/netip" || imported == "crypto/tls") {
		return room + " knows no network: it turns bytes into values"
	}
	inside, ours := strings.CutPrefix(imported, modulePath+"/")
	if !ours {
		return ""
	}
	other, _, _ := strings.Cut(inside, "/")
	otherLevel, known := levels[other]
	switch {
	case other == room:
		return ""
	case !known:
		return fmt.Sprintf("%s has no level: new packages go into one of the rooms", inside)
	case otherLevel == 4:
		return fmt.Sprintf("nobody imports %s", other)
	case otherLevel > level:
		return fmt.Sprintf("%s (level %d) is above %s (level %d): imports go down", other, otherLevel, room, level)
	case otherLevel == level:
		return fmt.Sprintf("%s and %s are siblings, which do not know each other: pass a value, or move the name down", room, other)
	}
	return ""
}

func TestImportRules(t *testing.T) {
	for _, c := range []struct {
		name          string
		dir, imported string
		allowed       bool
	}{
		{"down one level", "streams", modulePath + "/wire", true},
		{"down several levels", "framework", modulePath + "/wire/codec", true},
		{"within a room", "wire/codec", modulePath + "/wire/schema", true},
		{"the standard library", "wire", "crypto/sha256", true},
		{"an address as a value", "wire/codec", "net/netip", true},
		{"another module", "framework", "go.uber.org/zap", true},
		{"streams and quic-go", "streams", "github.com/quic-go/quic-go", true},
		{"up", "streams", modulePath + "/pool", false},
		{"up from the ground", "wire/codec", modulePath + "/framework", false},
		{"a sibling", "pool", modulePath + "/largeobj", false},
		{"a sibling on the ground", "wire", modulePath + "/dedup", false},
		{"quic-go elsewhere", "pool", "github.com/quic-go/quic-go", false},
		{"quic-go in a part of a room", "framework/monitor", "github.com/quic-go/quic-go/http3", false},
		{"a socket on the ground", "wire", "net", false},
		{"HTTP on the ground", "dedup", "net/http", false},
		{"TLS on the ground", "wire/codec", "crypto/tls", false},
		{"a package nobody imports", "examples/quickstart", modulePath + "/bench", false},
		{"tests nobody imports", "framework", modulePath + "/integration", false},
		{"a room that does not exist", "util", "fmt", false},
		{"from a room that does not exist", "framework", modulePath + "/util", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if reason := importViolation(c.dir, c.imported); (reason == "") != c.allowed {
				t.Errorf("%s imports %s: %q", c.dir, c.imported, reason)
			}
		})
	}
}

func TestImportsGoDownOnly(t *testing.T) {
	for _, f := range sources(t) {
		if f.module != "." && (strings.HasSuffix(f.name, "_test.go") || path.Base(f.dir) == "example") {
			continue // a part of a room that is a module of its own may show how it works with everything above
		}
		for _, spec := range f.tree.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if reason := importViolation(f.dir, imported); reason != "" {
				t.Errorf("%s imports %s: %s", f.name, imported, reason)
			}
		}
	}
}

func TestEveryPackageHasADocumentation(t *testing.T) {
	packages := map[string]bool{} // by directory: whether its doc.go is as it should be
	for _, f := range sources(t) {
		if strings.HasSuffix(f.name, "_test.go") {
			continue
		}
		packages[f.dir] = packages[f.dir] || path.Base(f.name) == "doc.go" && documents(f.tree)
	}
	for dir, ok := range packages {
		if !ok {
			t.Errorf(`%s/doc.go is missing, or does not begin with "Package %s" and one sentence on a line`, dir, path.Base(dir))
		}
	}
}

// documents reports whether the file begins with one sentence about its package, on a line of its own.
func documents(f *ast.File) bool {
	if f.Doc == nil {
		return false
	}
	first, _, _ := strings.Cut(f.Doc.Text(), "\n")
	begin := "Package " + f.Name.Name + " "
	if f.Name.Name == "main" {
		begin = "Command "
	}
	return strings.HasPrefix(first, begin) && strings.HasSuffix(first, ".")
}

// sleeps returns the positions of time.Sleep in a file outside of bubbles: not in what is given to synctest.Test, or to a
// function named in bubbles, and not in a function whose comment says that it runs in a bubble.
func sleeps(f *ast.File, bubbles map[string]bool) (found []token.Pos) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return !strings.Contains(n.Doc.Text(), "bubble")
		case *ast.CallExpr:
			name := calls(n)
			if name == "time.Sleep" {
				found = append(found, n.Pos())
			}
			return name != "synctest.Test" && !bubbles[name]
		}
		return true
	})
	return found
}

// bubbles returns the names of the functions of a file that call synctest.Test.
func bubbles(f *ast.File) (names []string) {
	for _, d := range f.Decls {
		fun, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		ast.Inspect(fun, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok && calls(c) == "synctest.Test" {
				names = append(names, fun.Name.Name)
			}
			return true
		})
	}
	return names
}

// calls returns what a call calls, as "package.Function" or "function".
func calls(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}

func TestTestsDoNotSleep(t *testing.T) {
	files := sources(t)
	inBubble := map[string]map[string]bool{} // by directory
	for _, f := range files {
		if inBubble[f.dir] == nil {
			inBubble[f.dir] = map[string]bool{}
		}
		for _, name := range bubbles(f.tree) {
			inBubble[f.dir][name] = true
		}
	}
	for _, f := range files {
		if !strings.HasSuffix(f.name, "_test.go") {
			continue
		}
		for _, pos := range sleeps(f.tree, inBubble[f.dir]) {
			t.Errorf("%s:%d: time.Sleep outside of a bubble of testing/synctest: wait for what should happen", f.name, f.files.Position(pos).Line)
		}
	}
}

// wallTimes returns the positions where a file makes a number of a time, or takes its monotonic reading away: what is compared
// then goes wrong when somebody sets the clock.
func wallTimes(f *ast.File) (found []token.Pos) {
	ast.Inspect(f, func(n ast.Node) bool {
		c, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if s, ok := c.Fun.(*ast.SelectorExpr); ok {
			zero := false
			if len(c.Args) == 1 {
				v, ok := c.Args[0].(*ast.BasicLit)
				zero = ok && v.Value == "0"
			}
			switch s.Sel.Name {
			case "Unix", "UnixMicro", "UnixMilli", "UnixNano":
				if len(c.Args) == 0 {
					found = append(found, n.Pos())
				}
			case "Round":
				if zero {
					found = append(found, n.Pos())
				}
			}
		}
		return true
	})
	return found
}

func TestSourceKeepsToTheMonotonicClock(t *testing.T) {
	allowed := map[string]string{
		"largeobj/internal/transfer/dir.go": "the time of a file is part of its identity, and is only compared for being the same",
	}
	for _, f := range sources(t) {
		room, _, _ := strings.Cut(f.dir, "/")
		if strings.HasSuffix(f.name, "_test.go") || allowed[f.name] != "" || levels[room] == 0 || levels[room] == 4 {
			continue // package wire carries the times of its users
		}
		for _, pos := range wallTimes(f.tree) {
			t.Errorf("%s:%d: a time without its monotonic reading: keep the time.Time, so that a clock that is set changes nothing", f.name, f.files.Position(pos).Line)
		}
	}
}

func TestSourceRulesCanFail(t *testing.T) {
	parse := func(text string) *ast.File {
		return must(parser.ParseFile(token.NewFileSet(), "x.go", text, parser.ParseComments))(t, "parsing")
	}
	for text, want := range map[string]int{
		"func f() { time.Sleep(1); g(func() { time.Sleep(2) }) }":                             2,
		"func f() { synctest.Test(t, func(t T) { time.Sleep(1) }) }":                          0,
		"func f() { g(func() { time.Sleep(1) }) }; func g(h func()) { synctest.Test(t, h) }":  0,
		"// f runs in a bubble.\nfunc f() { time.Sleep(1) }; func h() { f(); time.Sleep(2) }": 1,
	} {
		f := parse("package p\n" + text)
		names := map[string]bool{}
		for _, name := range bubbles(f) {
			names[name] = true
		}
		if got := len(sleeps(f, names)); got != want {
			t.Errorf("found %d sleeps in %q, want %d", got, text, want)
		}
	}
	for text, want := range map[string]int{
		"func f() { g(time.Now().UnixNano(), now.Unix(), now.Round(0)) }": 3,
		"func f() { g(time.Unix(1, 0), now.Round(time.Second)) }":         0,
	} {
		if got := len(wallTimes(parse("package p\n" + text))); got != want {
			t.Errorf("found %d times of the wall clock in %q, want %d", got, text, want)
		}
	}
	for text, want := range map[string]bool{
		"// Package p is good.\npackage p":             true,
		"// Command p is good.\npackage main":          true,
		"// Package p is good,\n// or not.\npackage p": false,
		"// This is p.\npackage p":                     false,
		"package p":                                    false,
	} {
		if got := documents(parse(text)); got != want {
			t.Errorf("%q is documentation: %v", text, got)
		}
	}
}

// A source is one Go file of the module, or of one nested in it.
type source struct {
	name   string // with slashes, from the root of the module
	dir    string
	module string // the directory of its go.mod
	tree   *ast.File
	files  *token.FileSet
}

// sources parses the files of the module, and of those that are nested in rooms whose packages others import.
func sources(t *testing.T) (list []source) {
	t.Helper()
	root := os.DirFS("..")
	module := "."
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if module != "." && !strings.HasPrefix(name, module+"/") {
			module = "."
		}
		if d.IsDir() {
			room, _, _ := strings.Cut(name, "/")
			nested := name != "." && exists(root, path.Join(name, "go.mod"))
			hidden := name != "." && strings.HasPrefix(d.Name(), ".")
			if hidden || d.Name() == "testdata" || nested && levels[room] == 4 {
				return fs.SkipDir
			}
			if nested {
				module = name
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		files := token.NewFileSet()
		tree, err := parser.ParseFile(files, filepath.Join("..", filepath.FromSlash(name)), nil, parser.ParseComments|parser.SkipObjectResolution)
		list = append(list, source{name, path.Dir(name), module, tree, files})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(list, func(s source) bool { return s.dir == "framework" }) {
		t.Fatalf("found %d files, none of framework", len(list))
	}
	return list
}

func exists(root fs.FS, name string) bool {
	_, err := fs.Stat(root, name)
	return err == nil
}
