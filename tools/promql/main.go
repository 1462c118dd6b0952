// Command promql holds alert rules and dashboards against data, with Prometheus's own parser and engine, and without its server
// (promtool would bring every cloud's library along).
//
//	promql names           expressions on standard input, one a line: prints the metrics that each asks for
//	promql query FOLDER    the same expressions, evaluated over what processes told: prints how many series each gives
//	promql test FILE       unit tests of rules, as `promtool test rules` reads them: fails where an alert is not as expected
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "promql:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "names":
		return eachExpression(func(expression string) (string, error) {
			names, err := metrics(expression)
			return strings.Join(names, " "), err
		})
	case len(arguments) == 2 && arguments[0] == "query":
		return query(ctx, arguments[1])
	case len(arguments) == 2 && arguments[0] == "test":
		return test(ctx, arguments[1])
	}
	return errors.New("say names, query FOLDER or test FILE")
}

// eachExpression answers each line of standard input with one.
func eachExpression(answer func(expression string) (string, error)) error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text, err := answer(lines.Text())
		if err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		fmt.Println(text)
	}
	return lines.Err()
}

var language = parser.NewParser(parser.Options{})

// metrics are the names in an expression, each once.
func metrics(expression string) ([]string, error) {
	parsed, err := language.ParseExpr(expression)
	if err != nil {
		return nil, err
	}
	var names []string
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, is := node.(*parser.VectorSelector); is && !slices.Contains(names, selector.Name) {
			names = append(names, selector.Name)
		}
		return nil
	})
	return names, nil
}
