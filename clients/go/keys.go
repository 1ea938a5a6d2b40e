package twintier

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gowebpki/jcs"
)

// Template is text with names in braces, such as "user:{user_id}:orders". Values are escaped, so
// that no value can make the key of another one. {{ and }} stand for braces.
type Template struct {
	text  string
	parts []templatePart
	names []string
}

// templatePart is literal text, or the name of a value.
type templatePart struct {
	text string
	name bool
}

var namePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// ParseTemplate parses a template.
func ParseTemplate(text string) (*Template, error) {
	t := &Template{text: text}
	var literal strings.Builder
	for rest := text; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "{{"), strings.HasPrefix(rest, "}}"):
			literal.WriteByte(rest[0])
			rest = rest[2:]
		case rest[0] == '{':
			end := strings.IndexByte(rest, '}')
			if end < 0 || !namePattern.MatchString(rest[1:end]) {
				return nil, usageError("template", strconv.Quote(text), "braces must hold a name of ASCII letters, digits and _, not beginning with a digit")
			}
			t.addLiteral(&literal)
			t.addName(rest[1:end])
			rest = rest[end+1:]
		case rest[0] == '}':
			return nil, usageError("template", strconv.Quote(text), "write }} for a brace")
		default:
			literal.WriteByte(rest[0])
			rest = rest[1:]
		}
	}
	t.addLiteral(&literal)
	if len(t.parts) == 0 {
		return nil, usageError("template", `""`, "it must not be empty")
	}
	return t, nil
}

// MustTemplate parses a template, and panics if it is wrong.
func MustTemplate(text string) *Template {
	t, err := ParseTemplate(text)
	if err != nil {
		panic(err)
	}
	return t
}

func (t *Template) addLiteral(literal *strings.Builder) {
	if literal.Len() > 0 {
		t.parts = append(t.parts, templatePart{text: literal.String()})
		literal.Reset()
	}
}

func (t *Template) addName(name string) {
	t.parts = append(t.parts, templatePart{text: name, name: true})
	if !slices.Contains(t.names, name) {
		t.names = append(t.names, name)
	}
}

// String returns the text of the template.
func (t *Template) String() string { return t.text }

// Names returns the distinct names in the order of the template.
func (t *Template) Names() []string { return slices.Clone(t.names) }

// Key fills in values in the order of Names. A value is a string, an integer or a boolean.
func (t *Template) Key(values ...any) (string, error) {
	if len(values) != len(t.names) {
		return "", usageError("number of values", len(values), fmt.Sprintf("the template %q has %d names", t.text, len(t.names)))
	}
	byName := make(map[string]any, len(values))
	for i, name := range t.names {
		byName[name] = values[i]
	}
	return t.KeyOf(byName)
}

// KeyOf fills in values by name.
func (t *Template) KeyOf(values map[string]any) (string, error) {
	for name := range values {
		if !slices.Contains(t.names, name) {
			return "", usageError("value", strconv.Quote(name), fmt.Sprintf("the template %q does not name it", t.text))
		}
	}
	var key strings.Builder
	for _, part := range t.parts {
		if !part.name {
			key.WriteString(part.text)
			continue
		}
		value, given := values[part.text]
		if !given {
			return "", usageError("value of "+part.text, "missing", fmt.Sprintf("the template %q names it", t.text))
		}
		text, err := segment(part.text, value)
		if err != nil {
			return "", err
		}
		escape(&key, text)
	}
	return key.String(), nil
}

// segment returns the text of a value.
func segment(name string, value any) (string, error) {
	v := reflect.ValueOf(value)
	switch {
	case !v.IsValid():
	case v.Kind() == reflect.String && v.Len() > 0:
		return v.String(), nil
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10), nil
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10), nil
	case v.Kind() == reflect.Bool:
		return strconv.FormatBool(v.Bool()), nil
	}
	return "", usageError("value of "+name, fmt.Sprintf("%q", fmt.Sprint(value)),
		"it must be a string that is not empty, an integer or a boolean")
}

// escape writes text, with every ASCII byte that is not in A-Za-z0-9._~- as %XX.
func escape(key *strings.Builder, text string) {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c > 0x7F, 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("._~-", c) >= 0:
			key.WriteByte(c)
		default:
			key.WriteByte('%')
			key.WriteByte(digits[c>>4])
			key.WriteByte(digits[c&15])
		}
	}
}

// ArgumentKey returns the key of arguments: the prefix, ":" and the first 128 bits of the SHA-256 of
// their canonical JSON (RFC 8785), in hex. It is the same in every language. An integer beyond
// ±(2^53 - 1) is refused.
func ArgumentKey(prefix string, arguments any) (string, error) {
	if prefix == "" {
		return "", usageError("prefix", `""`, "it must not be empty")
	}
	plain, err := marshalJSON(arguments)
	if err != nil {
		return "", usageError("arguments", fmt.Sprintf("of type %T", arguments), "JSON cannot express them: "+err.Error())
	}
	canonical, err := canonicalJSON(plain)
	if err != nil {
		return "", usageError("arguments", fmt.Sprintf("of type %T", arguments), "they have no canonical JSON: "+err.Error())
	}
	if number := unsafeInteger(canonical); number != "" {
		return "", usageError("arguments", number, "an integer must be within ±(2^53 - 1), so that no two have the same key")
	}
	sum := sha256.Sum256(canonical)
	return prefix + ":" + hex.EncodeToString(sum[:16]), nil
}

// canonicalJSON returns the canonical form. The list around the value makes it complete: the
// library takes only lists and objects.
func canonicalJSON(plain []byte) ([]byte, error) {
	wrapped, err := jcs.Transform(append(append([]byte{'['}, plain...), ']'))
	if err != nil {
		return nil, err
	}
	return wrapped[1 : len(wrapped)-1], nil
}

// unsafeInteger returns the first integer that a floating-point number may not hold exactly.
func unsafeInteger(canonical []byte) string {
	const limit = 1<<53 - 1
	decoder := json.NewDecoder(bytes.NewReader(canonical))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err != nil {
			return ""
		}
		number, ok := token.(json.Number)
		if !ok || strings.ContainsAny(number.String(), ".e") {
			continue
		}
		if n, err := number.Int64(); err != nil || n > limit || n < -limit {
			return number.String()
		}
	}
}
