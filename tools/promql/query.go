package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// query reads what processes told, a file each of the name INSTANCE@SECONDS, and
// prints of each expression how many series it gives just after the last.
func query(ctx context.Context, folder string) error {
	data, err := newStore()
	if err != nil {
		return err
	}
	defer data.close()
	files, err := filepath.Glob(filepath.Join(folder, "*@*"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("there is nothing in %s: %w", folder, err)
	}
	var last time.Time
	for _, file := range files {
		told, err := readTold(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := data.add(ctx, told); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if at := told[0].at; at.After(last) {
			last = at
		}
	}
	return eachExpression(func(expression string) (string, error) {
		found, err := data.ask(ctx, expression, last.Add(time.Second))
		return strconv.Itoa(len(found)), err
	})
}

// readTold reads what one process told at a time.
func readTold(file string) ([]sample, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	instance, seconds, _ := strings.Cut(filepath.Base(file), "@")
	since, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return nil, err
	}
	parser, err := textparse.New(text, "text/plain", labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return nil, err
	}
	var told []sample
	for {
		entry, err := parser.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, value := parser.Series()
		var found labels.Labels
		parser.Labels(&found)
		named := labels.NewBuilder(found).Set("instance", instance).Labels()
		told = append(told, sample{named, time.Unix(since, 0), value})
	}
	if len(told) == 0 {
		return nil, fmt.Errorf("it tells nothing")
	}
	return told, nil
}
