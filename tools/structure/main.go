// Command structure measures how the code is divided and compares it with the ceilings in tools/structure/ceilings: a number may
// fall, never rise. `make structure` runs it in the repository's folder.
//
// Go is counted outside tools/. Types and functions are counted without tests; a type is in each file that declares it or a method
// of it. A package counts as tests if no program of this module is built with it, so that only tests import it.
package main

import (
	"bufio"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ceilingsFile has a line for each measure: its name, a colon, the number.
const ceilingsFile = "tools/structure/ceilings"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "structure:", err)
		os.Exit(1)
	}
}

func run() error {
	code, err := readCode(".")
	if err != nil {
		return err
	}
	options, err := countOptions("docs/configuration.md")
	if err != nil {
		return err
	}
	ceilings, err := readCeilings(ceilingsFile)
	if err != nil {
		return err
	}
	code.printPackages()
	code.printTypes()
	return compare(code.measures(options), ceilings)
}

// A measure is a number that has a bound in ceilingsFile.
type measure struct {
	name  string
	value float64
	floor bool // true for a number that must not fall
}

// compare prints every measure beside its bound. It returns an error if one is past it.
func compare(measures []measure, ceilings map[string]float64) error {
	var past []string
	fmt.Println()
	for _, m := range measures {
		bound, known := ceilings[m.name]
		if !known {
			return fmt.Errorf("%s has no line for %q: add \"%s: %v\"", ceilingsFile, m.name, m.name, m.value)
		}
		worse, better, kind, mend := m.value > bound, m.value < bound, "ceiling", "lower"
		if m.floor {
			worse, better, kind, mend = m.value < bound, m.value > bound, "floor", "raise"
		}
		line := fmt.Sprintf("%-44s %9v  %s %v", m.name, m.value, kind, bound)
		switch {
		case worse:
			past = append(past, m.name)
			line += "  PAST IT"
		case better:
			line += fmt.Sprintf("  (%s the %s in %s)", mend, kind, ceilingsFile)
		}
		fmt.Println(line)
	}
	if len(past) > 0 {
		return fmt.Errorf("past the bounds in %s: %s", ceilingsFile, strings.Join(past, ", "))
	}
	return nil
}

func readCeilings(path string) (map[string]float64, error) {
	ceilings := map[string]float64{}
	return ceilings, eachLine(path, func(line string) error {
		name, number, found := strings.Cut(line, ":")
		if strings.HasPrefix(line, "#") || !found {
			return nil
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		ceilings[name] = value
		return err
	})
}

// countOptions returns the number of rows in the page's table of options, which a test of app holds against the options themselves.
func countOptions(path string) (int, error) {
	count, inTable := 0, false
	err := eachLine(path, func(line string) error {
		switch {
		case strings.HasPrefix(line, "<!-- options:"):
			inTable = strings.Contains(line, "begin")
		case inTable && strings.HasPrefix(line, "| `"):
			count++
		}
		return nil
	})
	return count, err
}

func eachLine(path string, do func(line string) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if err := do(lines.Text()); err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
	}
	return lines.Err()
}

// Sizes that a type should stay below, see docs/contributing.md.
const (
	maxMethods = 40
	maxFiles   = 4
)

// saysThat is how a comment begins that describes a value in place of returning or reporting it.
var saysThat = regexp.MustCompile(`\bsays (that|whether)\b`)

// flow, and the top-level folders that are to have at least as many lines of tests a line of code.
var testedFolders = []string{"app", "flow", "operate", "pipeline"}

// A code has the counts of all Go below a folder.
type code struct {
	packages        map[string]*lines
	types           map[string]*typeSize
	functions       int
	commentsSayThat int
}

type lines struct{ code, tests int }

type typeSize struct {
	methods int
	files   map[string]bool
}

// module is what the import paths of this module's packages start with.
const module = "github.com/flowjet/flowjet/"

// A source is a file of Go.
type source struct {
	*ast.File
	path, folder string
	lines        int
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

func readCode(root string) (*code, error) {
	var sources []source
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (path == "tools" || strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err == nil {
			sources = append(sources, source{file, path, filepath.Dir(path), files.File(file.Pos()).LineCount()})
		}
		return err
	})
	c := &code{packages: map[string]*lines{}, types: map[string]*typeSize{}}
	built := foldersOfPrograms(sources)
	for _, s := range sources {
		c.count(s, s.isTest() || !built[s.folder])
	}
	return c, err
}

// foldersOfPrograms returns the folders whose packages are in a program: the main packages, and what they import.
func foldersOfPrograms(sources []source) map[string]bool {
	imports := map[string][]string{}
	var open []string
	for _, s := range sources {
		switch {
		case s.isTest():
			continue
		case s.Name.Name == "main":
			open = append(open, s.folder)
		}
		for _, spec := range s.Imports {
			if folder, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module); ours {
				imports[s.folder] = append(imports[s.folder], filepath.FromSlash(folder))
			}
		}
	}
	built := map[string]bool{}
	for len(open) > 0 {
		folder := open[0]
		open = open[1:]
		if !built[folder] {
			built[folder] = true
			open = append(open, imports[folder]...)
		}
	}
	return built
}

// count adds a file to the counts.
func (c *code) count(s source, asTest bool) {
	for _, comment := range s.Comments {
		text := strings.Join(strings.Fields(comment.Text()), " ")
		c.commentsSayThat += len(saysThat.FindAllString(text, -1))
	}
	if c.packages[s.folder] == nil {
		c.packages[s.folder] = &lines{}
	}
	if asTest {
		c.packages[s.folder].tests += s.lines
		return
	}
	c.packages[s.folder].code += s.lines
	for _, declaration := range s.Decls {
		c.readDeclaration(declaration, s.folder, s.path)
	}
}

func (c *code) readDeclaration(declaration ast.Decl, folder, path string) {
	switch declaration := declaration.(type) {
	case *ast.FuncDecl:
		c.functions++
		if declaration.Recv != nil {
			t := c.typeIn(folder, receiver(declaration.Recv.List[0].Type), path)
			t.methods++
		}
	case *ast.GenDecl:
		for _, spec := range declaration.Specs {
			if spec, isType := spec.(*ast.TypeSpec); isType {
				c.typeIn(folder, spec.Name.Name, path)
			}
		}
	}
}

// typeIn returns the counts of a type and notes that a file has a part of it.
func (c *code) typeIn(folder, name, path string) *typeSize {
	key := folder + "." + name
	if c.types[key] == nil {
		c.types[key] = &typeSize{files: map[string]bool{}}
	}
	c.types[key].files[path] = true
	return c.types[key]
}

// receiver returns the name of a receiver's type.
func receiver(expression ast.Expr) string {
	switch e := expression.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

func (c *code) measures(options int) []measure {
	var all lines
	for _, p := range c.packages {
		all.code += p.code
		all.tests += p.tests
	}
	var methods, files, manyMethods, manyFiles int
	for _, t := range c.types {
		methods, files = max(methods, t.methods), max(files, len(t.files))
		if t.methods > maxMethods {
			manyMethods++
		}
		if len(t.files) > maxFiles {
			manyFiles++
		}
	}
	measures := []measure{
		{name: "lines of Go without tests", value: float64(all.code)},
		{name: "functions", value: float64(c.functions)}, // removing unneeded code can raise it
		{name: "methods of the largest type", value: float64(methods)},
		{name: "files of the most scattered type", value: float64(files)},
		{name: fmt.Sprintf("types with more than %d methods", maxMethods), value: float64(manyMethods)},
		{name: fmt.Sprintf("types in more than %d files", maxFiles), value: float64(manyFiles)},
		{name: `comments with "says that/whether"`, value: float64(c.commentsSayThat)},
		{name: "options", value: float64(options)},
	}
	for _, folder := range testedFolders {
		measures = append(measures, measure{
			name: "test lines a line of code in " + folder, value: math.Round(c.testsALine(folder)*100) / 100, floor: true,
		})
	}
	return measures
}

// testsALine returns the lines of tests for each line of code in a top-level folder and those below it.
func (c *code) testsALine(top string) float64 {
	var sum lines
	for folder, p := range c.packages {
		if folder == top || strings.HasPrefix(folder, top+string(filepath.Separator)) {
			sum.code += p.code
			sum.tests += p.tests
		}
	}
	return float64(sum.tests) / float64(max(sum.code, 1))
}

func (c *code) printPackages() {
	fmt.Printf("%-28s %8s %8s %12s\n", "package", "lines", "tests", "tests/line")
	for _, folder := range slices.Sorted(maps.Keys(c.packages)) {
		p := c.packages[folder]
		fmt.Printf("%-28s %8d %8d %12.2f\n", folder, p.code, p.tests, float64(p.tests)/float64(max(p.code, 1)))
	}
}

// printTypes prints the types that are too large, or the largest three.
func (c *code) printTypes() {
	names := slices.SortedFunc(maps.Keys(c.types), func(a, b string) int {
		return cmp.Or(c.types[b].methods-c.types[a].methods, len(c.types[b].files)-len(c.types[a].files), strings.Compare(a, b))
	})
	fmt.Printf("\n%-28s %8s %8s\n", "largest types", "methods", "files")
	for i, name := range names {
		t := c.types[name]
		if i < 3 || t.methods > maxMethods || len(t.files) > maxFiles {
			fmt.Printf("%-28s %8d %8d\n", name, t.methods, len(t.files))
		}
	}
}
