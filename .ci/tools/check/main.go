// check validates files with the libraries of the programs that read them:
//
//	check objects FILE      Kubernetes objects of the Prometheus operator and of the Gateway API
//	check rules FILE        Prometheus alerts
//	check alerts FILE       scenes in which alerts fire, or do not; prints the alerts that have both
//	check expressions FILE  a JSON list of Prometheus queries; prints the metrics and labels of each
//	check compose FILE      a compose file; prints it in full as JSON
//	check notes CHART [VALUES]
//	                        prints the notes of a chart for the release cache in the namespace shop
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/cli"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	checks := map[string]func(string) error{
		"objects": objects, "rules": rules, "alerts": alerts, "expressions": expressions, "compose": compose, "notes": notes}
	if len(os.Args) < 3 || checks[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: check objects|rules|alerts|expressions|compose|notes PATH")
		os.Exit(2)
	}
	if err := checks[os.Args[1]](os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[2], err)
		os.Exit(1)
	}
}

// objects parses each object of a known kind into its type, which must have every field.
func objects(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := utilyaml.NewYAMLOrJSONDecoder(file, 4096)
	for known := 0; ; {
		var raw map[string]any
		if err := reader.Decode(&raw); errors.Is(err, io.EOF) {
			fmt.Printf("%d objects of operators are what their types say\n", known)
			return nil
		} else if err != nil {
			return err
		}
		into := map[string]any{
			"monitoring.coreos.com/v1 ServiceMonitor": &monitoring.ServiceMonitor{},
			"monitoring.coreos.com/v1 PodMonitor":     &monitoring.PodMonitor{},
			"monitoring.coreos.com/v1 PrometheusRule": &monitoring.PrometheusRule{},
			"gateway.networking.k8s.io/v1 GRPCRoute":  &gateway.GRPCRoute{},
		}[fmt.Sprint(raw["apiVersion"], " ", raw["kind"])]
		if into == nil {
			continue
		}
		known++
		text, err := yaml.Marshal(raw)
		if err != nil {
			return err
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			return fmt.Errorf("%v: %w", raw["kind"], err)
		}
		if rule, ok := into.(*monitoring.PrometheusRule); ok {
			groups, err := yaml.Marshal(rule.Spec)
			if err != nil {
				return err
			}
			if _, err := parse(groups); err != nil {
				return fmt.Errorf("PrometheusRule: %w", err)
			}
		}
	}
}

func rules(path string) error {
	_, err := readRules(path)
	return err
}

func readRules(path string) (*rulefmt.RuleGroups, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(text)
}

func parse(groups []byte) (*rulefmt.RuleGroups, error) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	parsed, problems := rulefmt.Parse(groups, false, model.UTF8Validation, parser.NewParser(parser.Options{}), quiet)
	return parsed, errors.Join(problems...)
}

func compose(path string) error {
	options, err := cli.NewProjectOptions([]string{path},
		cli.WithWorkingDirectory(filepath.Dir(path)), cli.WithProfiles([]string{"*"}), cli.WithConsistency(true))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(project, "", "  ")
	fmt.Println(string(text))
	return err
}

func notes(path string) error {
	chart, err := loader.Load(path)
	if err != nil {
		return err
	}
	install := action.NewInstall(&action.Configuration{})
	install.ClientOnly, install.DryRun = true, true
	install.ReleaseName, install.Namespace = "cache", "shop"
	values := map[string]any{}
	if len(os.Args) > 3 {
		if values, err = chartutil.ReadValuesFile(os.Args[3]); err != nil {
			return err
		}
	}
	release, err := install.Run(chart, values)
	if err != nil {
		return err
	}
	fmt.Println(release.Info.Notes)
	return nil
}
