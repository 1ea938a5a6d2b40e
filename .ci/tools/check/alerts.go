package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"sigs.k8s.io/yaml"
)

// scene is a test of one alert: series in the notation of Prometheus' tests, with one value per minute, and true if the alert must fire at the end.
type scene struct {
	Alert  string            `json:"alert"`
	When   string            `json:"when"`
	Fires  bool              `json:"fires"`
	Series map[string]string `json:"series"`
}

// alerts evaluates the scenes of a file with their rules. It prints the alerts that have a scene in which they fire and one in which they do not.
func alerts(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var file struct {
		Rules  string  `json:"rules"`
		Scenes []scene `json:"scenes"`
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		return err
	}
	groups, err := readRules(filepath.Join(filepath.Dir(path), file.Rules))
	if err != nil {
		return err
	}
	known := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			known[rule.Alert] = rule
		}
	}
	var problems []error
	seen := map[string][2]bool{}
	for _, scene := range file.Scenes {
		rule, ok := known[scene.Alert]
		if !ok {
			problems = append(problems, fmt.Errorf("%s: no such alert", scene.Alert))
			continue
		}
		fired, err := play(rule, scene)
		if err == nil && fired != scene.Fires {
			err = fmt.Errorf("fires: %v", fired)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s when %s: %w", scene.Alert, scene.When, err))
		}
		both := seen[scene.Alert]
		both[map[bool]int{false: 0, true: 1}[fired]] = true
		seen[scene.Alert] = both
	}
	for alert, both := range seen {
		if both[0] && both[1] {
			fmt.Println(alert)
		}
	}
	return errors.Join(problems...)
}

// state is the state of one alert, by its labels: pending for the rule's time, then firing, and kept firing for some time after.
type state struct {
	since, gone time.Time
	firing      bool
}

// play evaluates a rule every minute, like Prometheus, and returns true if an alert fires at the end.
func play(rule rulefmt.Rule, scene scene) (bool, error) {
	series, minutes, err := load(scene.Series)
	if err != nil {
		return false, err
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	defer engine.Close()
	states := map[string]*state{}
	for minute := range minutes {
		now := time.Unix(int64(60*minute), 0)
		active, err := evaluate(engine, series, rule.Expr, now)
		if err != nil {
			return false, err
		}
		for name := range active {
			if states[name] == nil {
				states[name] = &state{since: now}
			}
		}
		for name, state := range states {
			switch {
			case active[name]:
				state.gone = time.Time{}
				state.firing = state.firing || now.Sub(state.since) >= time.Duration(rule.For)
			case state.gone.IsZero():
				state.gone = now
				fallthrough
			default:
				if !state.firing || now.Sub(state.gone) >= time.Duration(rule.KeepFiringFor) {
					delete(states, name)
				}
			}
		}
	}
	for _, state := range states {
		if state.firing {
			return true, nil
		}
	}
	return false, nil
}

// evaluate returns the label sets for which an expression has a value at a time.
func evaluate(engine *promql.Engine, series storage.Queryable, expression string, now time.Time) (map[string]bool, error) {
	query, err := engine.NewInstantQuery(context.Background(), series, nil, expression, now)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	vector, err := query.Exec(context.Background()).Vector()
	active := map[string]bool{}
	for _, sample := range vector {
		active[sample.Metric.String()] = true
	}
	return active, err
}

// load parses the notation of series, and returns the length of the longest in minutes.
func load(given map[string]string) (storage.Queryable, int, error) {
	var all []storage.Series
	minutes := 0
	for name, values := range given {
		of, sequence, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(name + " " + values)
		if err != nil {
			return nil, 0, err
		}
		var samples []chunks.Sample
		for minute, value := range sequence {
			if !value.Omitted {
				samples = append(samples, sample{int64(60_000 * minute), value.Value})
			}
		}
		minutes = max(minutes, len(sequence))
		all = append(all, storage.NewListSeries(of, samples))
	}
	slices.SortFunc(all, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	pick := func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		picked := &set{}
		for _, series := range all {
			of := series.Labels()
			if !slices.ContainsFunc(matchers, func(each *labels.Matcher) bool { return !each.Matches(of.Get(each.Name)) }) {
				picked.series = append(picked.series, series)
			}
		}
		return picked
	}
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{SelectMockFunction: pick}}, minutes, nil
}

// set is an in-memory storage.SeriesSet.
type set struct {
	series []storage.Series
	next   int
}

func (s *set) Next() bool                        { s.next++; return s.next <= len(s.series) }
func (s *set) At() storage.Series                { return s.series[s.next-1] }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }

// sample is a value at a time in milliseconds.
type sample struct {
	at    int64
	value float64
}

func (s sample) T() int64                      { return s.at }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }
