package twintier

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// CachedFunc is a function whose results are cached. It is safe for concurrent use.
type CachedFunc[A, T any] struct {
	client  *Client
	load    func(context.Context, A) (T, error)
	key     keyFunc
	tags    []keyFunc
	options []CallOption
}

// keyFunc makes a key or a tag from an argument.
type keyFunc func(argument any) (string, error)

// Cached wraps a function so that its results are cached. The key is a template whose names are
// filled from the argument: from the fields of a struct, by the tag "json" or by their names, from
// a map with string keys, or from the argument itself if there is one name. A key without names is
// the prefix of an ArgumentKey. Tags are templates, too.
//
// Cached fails if no key can be made from arguments of the type A.
func Cached[A, T any](
	c *Client, key string, load func(context.Context, A) (T, error), options ...CallOption,
) (*CachedFunc[A, T], error) {
	f := &CachedFunc[A, T]{client: c, load: load, options: options}
	o, err := c.prepare(options)
	if err != nil {
		return nil, err
	}
	if f.key, err = keyMaker(reflect.TypeFor[A](), key, true); err != nil {
		return nil, err
	}
	for _, tag := range o.tags {
		tagKey, err := keyMaker(reflect.TypeFor[A](), tag, false)
		if err != nil {
			return nil, err
		}
		f.tags = append(f.tags, tagKey)
	}
	return f, nil
}

// MustCached is Cached, and panics if it fails. It is meant for package variables.
func MustCached[A, T any](
	c *Client, key string, load func(context.Context, A) (T, error), options ...CallOption,
) *CachedFunc[A, T] {
	f, err := Cached(c, key, load, options...)
	if err != nil {
		panic(err)
	}
	return f
}

// Get returns the cached result for an argument, or loads it: see GetOrSet.
func (f *CachedFunc[A, T]) Get(ctx context.Context, argument A) (T, error) {
	key, options, err := f.call(argument)
	if err != nil {
		var zero T
		return zero, err
	}
	return GetOrSet(ctx, f.client, key, func(ctx context.Context) (T, error) { return f.load(ctx, argument) }, options...)
}

// Refresh calls the function, stores its result and returns it. ErrAbsent is a result, too.
func (f *CachedFunc[A, T]) Refresh(ctx context.Context, argument A) (T, error) {
	var zero T
	key, options, err := f.call(argument)
	if err != nil {
		return zero, err
	}
	value, err := f.load(ctx, argument)
	if errors.Is(err, ErrAbsent) {
		_, failure := f.client.SetAbsent(ctx, key, options...)
		return zero, errors.Join(err, failure)
	}
	if err != nil {
		return zero, err
	}
	_, err = f.client.Set(ctx, key, value, options...)
	return value, err
}

// Uncached calls the function itself.
func (f *CachedFunc[A, T]) Uncached(ctx context.Context, argument A) (T, error) {
	return f.load(ctx, argument)
}

// Invalidate removes the result for an argument: see Client.Invalidate.
func (f *CachedFunc[A, T]) Invalidate(ctx context.Context, argument A) (done bool, err error) {
	key, options, err := f.call(argument)
	if err != nil {
		return false, err
	}
	return f.client.Invalidate(ctx, Keys(key), append(options, func(o *callOptions) { o.sourceVersion = nil })...)
}

// Key returns the key for an argument.
func (f *CachedFunc[A, T]) Key(argument A) (string, error) { return f.key(argument) }

// call returns the key and the options for an argument.
func (f *CachedFunc[A, T]) call(argument A) (string, []CallOption, error) {
	key, err := f.key(argument)
	if err != nil || len(f.tags) == 0 {
		return key, f.options[:len(f.options):len(f.options)], err
	}
	tags := make([]string, len(f.tags))
	for i, tag := range f.tags {
		if tags[i], err = tag(argument); err != nil {
			return "", nil, err
		}
	}
	return key, append(f.options[:len(f.options):len(f.options)], Tags(tags...)), nil
}

// keyMaker returns how to make a key or a tag from arguments of a type. hashed allows a key without
// names, which is a prefix.
func keyMaker(argument reflect.Type, text string, hashed bool) (keyFunc, error) {
	template, err := ParseTemplate(text)
	if err != nil {
		return nil, err
	}
	names := template.Names()
	if len(names) > 0 {
		return templateKey(argument, template)
	}
	if !hashed {
		return func(any) (string, error) { return text, nil }, nil
	}
	if _, err := ArgumentKey(text, reflect.Zero(argument).Interface()); err != nil {
		return nil, err
	}
	return func(argument any) (string, error) { return ArgumentKey(text, argument) }, nil
}

// templateKey fills a template from arguments of a type.
func templateKey(argument reflect.Type, template *Template) (keyFunc, error) {
	names := template.Names()
	switch {
	case argument.Kind() == reflect.Map && argument.Key().Kind() == reflect.String:
		return func(argument any) (string, error) {
			return fill(template, func(name string) reflect.Value {
				m := reflect.ValueOf(argument)
				return m.MapIndex(reflect.ValueOf(name).Convert(m.Type().Key()))
			})
		}, nil
	case argument.Kind() == reflect.Struct:
		fields, err := fieldsOf(argument, template)
		if err != nil {
			return nil, err
		}
		return func(argument any) (string, error) {
			return fill(template, func(name string) reflect.Value {
				return reflect.ValueOf(argument).FieldByIndex(fields[name])
			})
		}, nil
	case len(names) == 1 && isSegment(argument.Kind()):
		return func(argument any) (string, error) { return template.Key(argument) }, nil
	}
	return nil, usageError("argument", "of type "+argument.String(),
		fmt.Sprintf("the template %q needs a struct, a map with string keys or, for one name, a string, integer or boolean", template))
}

// fill fills a template. Values that are missing are left to the template to report.
func fill(template *Template, value func(name string) reflect.Value) (string, error) {
	values := make(map[string]any)
	for _, name := range template.Names() {
		if v := value(name); v.IsValid() {
			values[name] = v.Interface()
		}
	}
	return template.KeyOf(values)
}

// fieldsOf returns the fields of a struct that a template names.
func fieldsOf(argument reflect.Type, template *Template) (map[string][]int, error) {
	fields := make(map[string][]int)
	for _, field := range reflect.VisibleFields(argument) {
		if !field.IsExported() || field.Anonymous {
			continue
		}
		fields[field.Name] = field.Index
		if tag, _, _ := strings.Cut(field.Tag.Get("json"), ","); tag != "" && tag != "-" {
			fields[tag] = field.Index
		}
	}
	for _, name := range template.Names() {
		if fields[name] == nil {
			return nil, usageError("argument", "of type "+argument.String(),
				fmt.Sprintf("it has no exported field for the name %q of the template %q", name, template))
		}
	}
	return fields, nil
}

func isSegment(kind reflect.Kind) bool {
	return kind == reflect.String || kind == reflect.Bool || kind >= reflect.Int && kind <= reflect.Uintptr
}
