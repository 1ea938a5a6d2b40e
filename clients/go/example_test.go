package twintier_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	twintier "github.com/twintier/twintier/clients/go"
)

type Product struct {
	ID    int    `json:"id"`
	Price string `json:"price"`
}

// Without a service every loader runs: the example shows that a program goes on.
func Example() {
	cache, err := twintier.Open("localhost:1", twintier.WithTimeout(50*time.Millisecond))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cache.Close(context.Background()) }()

	load := func(ctx context.Context) (Product, error) { return Product{ID: 7, Price: "10 €"}, nil }
	product, err := twintier.GetOrSet(context.Background(), cache, "product:7", load, twintier.TTL(time.Minute))
	fmt.Println(product.Price, err)
	// Output: 10 € <nil>
}

func ExampleCached() {
	cache, _ := twintier.Open("localhost:1", twintier.WithTimeout(50*time.Millisecond))
	defer func() { _ = cache.Close(context.Background()) }()

	type query struct {
		Shop int    `json:"shop"`
		Word string `json:"word"`
	}
	search := twintier.MustCached(cache, "shop:{shop}:search:{word}",
		func(ctx context.Context, q query) ([]string, error) { return []string{q.Word + "s"}, nil },
		twintier.TTL(time.Minute), twintier.Tags("shop:{shop}"))
	key, _ := search.Key(query{Shop: 3, Word: "red hat"})
	found, _ := search.Get(context.Background(), query{Shop: 3, Word: "hat"})
	fmt.Println(key, found)
	// Output: shop:3:search:red%20hat [hats]
}

func ExampleGet() {
	cache, _ := twintier.Open("localhost:1", twintier.WithTimeout(50*time.Millisecond))
	defer func() { _ = cache.Close(context.Background()) }()

	_, err := twintier.Get[Product](context.Background(), cache, "product:7")
	fmt.Println(errors.Is(err, twintier.ErrMiss))
	_, err = twintier.Get[Product](context.Background(), cache, "product:7", twintier.Strict(true))
	fmt.Println(errors.Is(err, twintier.ErrUnavailable) || errors.Is(err, twintier.ErrDeadline))
	// Output:
	// true
	// true
}

func ExampleMustTemplate() {
	orders := twintier.MustTemplate("user:{user_id}:orders:{status}")
	key, _ := orders.Key(42, "open/late")
	fmt.Println(key)
	// Output: user:42:orders:open%2Flate
}

func ExampleArgumentKey() {
	key, _ := twintier.ArgumentKey("orders", map[string]any{"user_id": 42})
	fmt.Println(key)
	// Output: orders:feaa769a39ae2d192c6a67579b8ecffa
}

func ExampleMiddleware() {
	cache, _ := twintier.Open("localhost:1", twintier.WithTimeout(50*time.Millisecond))
	defer func() { _ = cache.Close(context.Background()) }()

	handler := twintier.Middleware(cache)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Calls with r.Context() belong to the request's session.
		fmt.Println(twintier.SessionFromContext(r.Context()) != nil)
	}))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	// Output: true
}
