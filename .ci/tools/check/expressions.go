package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// expression holds the names in a Prometheus query: its metrics, each with the labels and values by which it is matched, joined or grouped,
// and the labels that a result may have. Kept is nil if the query removes no labels.
type expression struct {
	Metrics map[string]map[string][]string `json:"metrics"`
	Kept    []string                       `json:"kept"`
}

// expressions reads a JSON list of queries and prints a JSON list of their metrics and labels.
func expressions(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var queries []string
	if err := json.Unmarshal(text, &queries); err != nil {
		return err
	}
	found := make([]expression, 0, len(queries))
	for _, query := range queries {
		parsed, err := parser.NewParser(parser.Options{}).ParseExpr(query)
		if err != nil {
			return fmt.Errorf("%s: %w", query, err)
		}
		found = append(found, expression{Metrics: metrics(parsed), Kept: kept(parsed)})
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

func metrics(query parser.Expr) map[string]map[string][]string {
	found := map[string]map[string][]string{}
	parser.Inspect(query, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		if found[selector.Name] == nil {
			found[selector.Name] = map[string][]string{}
		}
		used := func(label string, values ...string) {
			all := append(append([]string{}, found[selector.Name][label]...), values...)
			slices.Sort(all)
			found[selector.Name][label] = slices.Compact(all)
		}
		for _, matcher := range selector.LabelMatchers {
			switch {
			case matcher.Name == labels.MetricName:
			case matcher.Type == labels.MatchEqual || matcher.Type == labels.MatchNotEqual:
				used(matcher.Name, matcher.Value)
			default:
				used(matcher.Name, matcher.SetMatches()...)
			}
		}
		for _, above := range path {
			switch above := above.(type) {
			case *parser.AggregateExpr:
				if !above.Without {
					for _, label := range above.Grouping {
						used(label)
					}
				}
			case *parser.BinaryExpr:
				if above.VectorMatching != nil && above.VectorMatching.On {
					for _, label := range above.VectorMatching.MatchingLabels {
						used(label)
					}
				}
			}
		}
		return nil
	})
	return found
}

// kept descends to the operation that removes labels, on the left side, whose labels an operation keeps.
func kept(query parser.Expr) []string {
	switch query := query.(type) {
	case *parser.AggregateExpr:
		// topk and bottomk keep all labels.
		if query.Without || query.Op == parser.TOPK || query.Op == parser.BOTTOMK {
			return kept(query.Expr)
		}
		return append([]string{}, query.Grouping...)
	case *parser.BinaryExpr:
		if query.LHS.Type() == parser.ValueTypeScalar {
			return kept(query.RHS)
		}
		below := kept(query.LHS)
		if matching := query.VectorMatching; matching != nil && below != nil {
			below = append(below, matching.Include...)
		}
		return below
	case *parser.Call:
		for _, argument := range query.Args {
			if argument.Type() != parser.ValueTypeScalar && argument.Type() != parser.ValueTypeString {
				return without(kept(argument), query.Func.Name)
			}
		}
		return []string{}
	case *parser.ParenExpr:
		return kept(query.Expr)
	case *parser.UnaryExpr:
		return kept(query.Expr)
	case *parser.SubqueryExpr:
		return kept(query.Expr)
	case *parser.StepInvariantExpr:
		return kept(query.Expr)
	}
	return nil
}

func without(names []string, function string) []string {
	if function != "histogram_quantile" {
		return names
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == model.BucketLabel })
}
