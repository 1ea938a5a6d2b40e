package twintier

import (
	"reflect"
	"sync"
	"time"
)

// decodedValue is the value of a near entry, decoded to a type.
type decodedValue struct {
	kind  reflect.Type
	value reflect.Value
}

// decode decodes the entry into target, a pointer. The decoded value is kept if its type holds no
// references, so that callers cannot change each other's values.
func (e *nearEntry) decode(s Serializer, target any) error {
	into := reflect.ValueOf(target).Elem()
	if d := e.decoded.Load(); d != nil && d.kind == into.Type() {
		into.Set(d.value)
		return nil
	}
	if err := Decode(s, e.contentType, e.value, target); err != nil {
		return err
	}
	if holdsNoReferences(into.Type()) {
		kept := reflect.New(into.Type()).Elem()
		kept.Set(into)
		e.decoded.Store(&decodedValue{kind: into.Type(), value: kept})
	}
	return nil
}

// plainTypes remembers the answers of holdsNoReferences.
var plainTypes sync.Map

// holdsNoReferences reports whether a copy of a value shares nothing that can be changed.
func holdsNoReferences(t reflect.Type) bool {
	if known, ok := plainTypes.Load(t); ok {
		return known.(bool)
	}
	plain := isPlain(t)
	plainTypes.Store(t, plain)
	return plain
}

func isPlain(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return isPlain(t.Elem())
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return true
		}
		for i := range t.NumField() {
			if !isPlain(t.Field(i).Type) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return false
	default:
		return true
	}
}
