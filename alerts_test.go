package ledgerline_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"
)

// TestAlertRules holds the rules for Prometheus to metrics that there are, with the labels that they
// have (docs/metrics.md, which TestMetrics holds to running binaries), and to saying what to do.
func TestAlertRules(t *testing.T) {
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Expr        string            `yaml:"expr"`
				For         string            `yaml:"for"`
				Labels      map[string]string `yaml:"labels"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	read := func(path string, into any) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err == nil {
			err = yaml.UnmarshalStrict(text, into)
		}
		if err != nil {
			t.Fatalf("reading %s: %v", path, err)
		}
	}
	read("deploy/prometheus/rules.yml", &file)
	page, err := os.ReadFile("docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	book, err := os.ReadFile("docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	var sections, alerts []string
	for _, m := range regexp.MustCompile("(?m)^## (.+)$").FindAllStringSubmatch(string(book), -1) {
		sections = append(sections, m[1])
	}
	labels := map[string][]string{} // by metric
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\| ([^|]+) \\|").FindAllStringSubmatch(string(page), -1) {
		own := append(strings.Split(row[3], ", "), "job", "instance")
		labels[row[1]] = own
		if row[2] == "histogram" {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				labels[row[1]+part] = own
			}
		}
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			alerts = append(alerts, r.Alert)
			if r.Alert == "" || r.Annotations["summary"] == "" || r.Annotations["what_to_do"] == "" || r.Labels["severity"] == "" {
				t.Errorf("rule %+v lacks a name, a severity, a summary or what to do", r)
			}
			var known []string // labels of its metrics
			for _, name := range regexp.MustCompile(`\bledgerline_\w+`).FindAllString(r.Expr, -1) {
				if labels[name] == nil {
					t.Errorf("%s: there is no metric %s", r.Alert, name)
				}
				known = append(known, labels[name]...)
			}
			if len(known) == 0 {
				t.Errorf("%s is about no metric of ours: %s", r.Alert, r.Expr)
			}
			var named []string
			for _, m := range regexp.MustCompile(`(?:by|on|without)\s*\(([^)]*)\)`).FindAllStringSubmatch(r.Expr, -1) {
				named = append(named, strings.Split(m[1], ",")...)
			}
			for _, m := range regexp.MustCompile(`[{,]\s*(\w+)\s*[=!]~?"?`).FindAllStringSubmatch(r.Expr, -1) {
				named = append(named, m[1])
			}
			for _, text := range r.Annotations {
				for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
					named = append(named, m[1])
				}
			}
			for _, label := range named {
				if !slices.Contains(known, strings.TrimSpace(label)) {
					t.Errorf("%s: its metrics have no label %q", r.Alert, strings.TrimSpace(label))
				}
			}
		}
	}
	if len(alerts) < 8 || !slices.Equal(alerts, sections) {
		t.Errorf("the rules are %v, the sections of docs/runbook.md %v", alerts, sections)
	}

	var config struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			Job string `yaml:"job_name"`
			DNS []struct {
				Names []string `yaml:"names"`
				Port  int      `yaml:"port"`
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	text, err := os.ReadFile("deploy/prometheus/prometheus.yml")
	if err == nil {
		err = yaml.Unmarshal(text, &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	var jobs []string
	for _, s := range config.ScrapeConfigs {
		if len(s.DNS) != 1 || s.DNS[0].Port != 9091 || !slices.Equal(s.DNS[0].Names, []string{s.Job}) {
			t.Errorf("job %+v is not the service of its name at 9091", s)
		}
		jobs = append(jobs, s.Job)
	}
	if !slices.Equal(jobs, []string{"ingest", "processor"}) || !slices.Equal(config.RuleFiles, []string{"rules.yml"}) {
		t.Errorf("it scrapes %v and reads %v", jobs, config.RuleFiles)
	}
}
