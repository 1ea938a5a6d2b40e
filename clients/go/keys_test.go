package twintier

import (
	"encoding/json"
	"errors"
	"os"
	"testing"
)

// vectors are the test vectors of all languages.
type vectors struct {
	Keys []struct {
		Template string
		Values   map[string]any
		Key      string
		Error    string
	}
	ArgumentKeys []struct {
		Prefix    string
		Arguments json.RawMessage
		Key       string
		Error     string
	} `json:"argument_keys"`
}

func readVectors(t *testing.T) *vectors {
	t.Helper()
	content, err := os.ReadFile("../conformance/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	v := &vectors{}
	if err := json.Unmarshal(content, v); err != nil {
		t.Fatal(err)
	}
	if len(v.Keys) == 0 || len(v.ArgumentKeys) == 0 {
		t.Fatal("no vectors")
	}
	return v
}

func TestTemplatesFollowTheVectors(t *testing.T) {
	for _, vector := range readVectors(t).Keys {
		for name, value := range vector.Values { // integers arrive as floating-point numbers
			if number, ok := value.(float64); ok && number == float64(int64(number)) {
				vector.Values[name] = int64(number)
			}
		}
		key, err := fillVector(vector.Template, vector.Values)
		checkVector(t, vector.Template, key, err, vector.Key, vector.Error)
	}
}

func fillVector(text string, values map[string]any) (string, error) {
	template, err := ParseTemplate(text)
	if err != nil {
		return "", err
	}
	return template.KeyOf(values)
}

func TestArgumentKeysFollowTheVectors(t *testing.T) {
	for _, vector := range readVectors(t).ArgumentKeys {
		key, err := ArgumentKey(vector.Prefix, vector.Arguments)
		checkVector(t, string(vector.Arguments), key, err, vector.Key, vector.Error)
	}
}

func checkVector(t *testing.T, what, key string, err error, wantKey, wantError string) {
	t.Helper()
	if wantError != "" && !errors.Is(err, ErrUsage) || wantError == "" && (err != nil || key != wantKey) {
		t.Errorf("%s: got %q, %v, want %q, %q", what, key, err, wantKey, wantError)
	}
}

func TestValuesInTheOrderOfTheTemplate(t *testing.T) {
	template := MustTemplate("user:{id}:{kind}:{id}")
	key, err := template.Key(uint8(7), "a b")
	if err != nil || key != "user:7:a%20b:7" {
		t.Errorf("got %q, %v", key, err)
	}
	if _, err := template.Key(7); !errors.Is(err, ErrUsage) {
		t.Errorf("a value too few: %v", err)
	}
}
