package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMeasures(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("app/a.go", "package app\n\n// A says\n// that it is one.\ntype A struct{}\n\nfunc (A) M() {}\n")
	write("app/b.go", "package app\n\nfunc (*A) N() {}\n\nfunc F() {}\n")
	write("app/a_test.go", "package app\n\nfunc (A) T() {}\n")
	write("tools/c.go", "package tools\n\nimport _ \"github.com/flowjet/flowjet/kit\"\n")
	write("cmd/main.go", "package main\n\nimport _ \"github.com/flowjet/flowjet/app\"\n")
	write("kit/kit.go", "package kit\n\nfunc ForTests() {}\n")
	write("app/kit_test.go", "package app\n\nimport _ \"github.com/flowjet/flowjet/kit\"\n")
	t.Chdir(root)
	code, err := readCode(".")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, m := range code.measures(7) {
		values[m.name] = m.value
	}
	for name, want := range map[string]float64{
		"lines of Go without tests": 15, "functions": 3, "methods of the largest type": 2,
		"files of the most scattered type": 2, `comments with "says that/whether"`: 1, "options": 7,
		"test lines a line of code in app": 0.5,
	} {
		if values[name] != want {
			t.Errorf("%s: %v, want %v", name, values[name], want)
		}
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name  string
		value float64
		floor bool
		past  bool
	}{
		{"at the ceiling", 10, false, false},
		{"below the ceiling", 9, false, false},
		{"above the ceiling", 11, false, true},
		{"above the floor", 11, true, false},
		{"below the floor", 9, true, true},
	} {
		err := compare([]measure{{"m", c.value, c.floor}}, map[string]float64{"m": 10})
		if (err != nil) != c.past {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := compare([]measure{{name: "m"}}, nil); err == nil {
		t.Error("a measure without a bound passes")
	}
}
