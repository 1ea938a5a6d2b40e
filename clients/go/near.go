package twintier

import (
	"context"
	"hash/maphash"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

// NearCache has the settings of entries in the client's own memory. A watch of the client's
// namespace removes what changes; calls with another namespace do not use it.
type NearCache struct {
	// MaxBytes limits the memory of entries. Zero means 32 MiB.
	MaxBytes uint64
	// MaxStaleness is how long an answer may be out of date. Zero means 5 s. Below about a second
	// the service rarely proves freshness in time, and most reads go to the service.
	MaxStaleness time.Duration
	// MaxAge is the longest time that an entry is kept. Zero means a minute. After it the service
	// is asked again, and may say that the entry is due for refresh.
	MaxAge time.Duration
}

const (
	nearStripes     = 256
	nearEntryBytes  = 256 // of bookkeeping, for each entry
	minHeartbeat    = 100 * time.Millisecond
	maxHeartbeat    = time.Second
	defaultMaxBytes = 32 << 20
)

func (s *NearCache) check() error {
	if s.MaxStaleness < 0 {
		return usageError("max_staleness of the near cache", s.MaxStaleness, "it must be positive")
	}
	if s.MaxAge < 0 {
		return usageError("max_age of the near cache", s.MaxAge, "it must be positive")
	}
	return nil
}

func (s NearCache) withDefaults() NearCache {
	if s.MaxBytes == 0 {
		s.MaxBytes = defaultMaxBytes
	}
	if s.MaxStaleness == 0 {
		s.MaxStaleness = 5 * time.Second
	}
	if s.MaxAge == 0 {
		s.MaxAge = time.Minute
	}
	return s
}

// nearCache holds entries by the rules in docs/watch.md. Each change has a number. An answer is kept
// only if no change that may cover it came after the heartbeat whose token the request presented.
type nearCache struct {
	client   *Client
	settings NearCache
	entries  *otter.Cache[string, *nearEntry]
	seed     maphash.Seed
	changes  atomic.Uint64 // number of the last change
	inserts  atomic.Uint64
	proof    atomic.Pointer[nearProof]

	gate    sync.RWMutex // held exclusively by changes of many keys
	wide    uint64       // number of the last change of many keys
	scanned string       // prefix of the last scan
	since   uint64       // inserts before the last scan
	stripes [nearStripes]nearStripe
}

// nearStripe orders inserts and changes of its keys.
type nearStripe struct {
	mu      sync.Mutex
	changed uint64 // number of the last change of one of its keys
}

// nearProof is the position of the last heartbeat.
type nearProof struct {
	token   string
	changes uint64
	at      int64 // every change acknowledged before this time was delivered; 0 if unknown
}

// nearEntry is a value, or "absent".
type nearEntry struct {
	value       []byte
	contentType string
	absent      bool
	info        EntryInfo
	kept, end   int64
	decoded     atomic.Pointer[decodedValue]
}

// nearMark says what was known before a read.
type nearMark struct {
	proof     *nearProof
	at        int64
	presented bool
}

func newNearCache(c *Client, settings NearCache) (*nearCache, error) {
	n := &nearCache{client: c, settings: settings.withDefaults(), seed: maphash.MakeSeed()}
	n.proof.Store(&nearProof{})
	entries, err := otter.New(&otter.Options[string, *nearEntry]{
		MaximumWeight: n.settings.MaxBytes,
		Weigher:       weigh,
		Executor:      func(maintain func()) { maintain() }, // no goroutine of its own
	})
	n.entries = entries
	return n, err
}

func weigh(key string, entry *nearEntry) uint32 {
	return uint32(min(nearEntryBytes+len(key)+2*len(entry.value), math.MaxUint32))
}

// find returns an entry if it is proven to be fresh enough for a read.
func (n *nearCache) find(key string, o *callOptions, session *Session) *nearEntry {
	if !n.serves(o, session) || o.consistency == Strong {
		return nil
	}
	limit := n.settings.MaxStaleness
	if o.maxStaleness > 0 {
		limit = min(limit, o.maxStaleness)
	}
	proof, now := n.proof.Load(), clock()
	if proof.at == 0 || now-proof.at > int64(limit) {
		return nil
	}
	entry, ok := n.entries.GetIfPresent(key)
	if !ok {
		return nil
	}
	if now >= entry.end {
		n.entries.Invalidate(key)
		return nil
	}
	return entry
}

// serves reports whether the cache answers reads of a session with these options.
func (n *nearCache) serves(o *callOptions, session *Session) bool {
	return n != nil && session == nil && o.namespace == n.client.config.call.namespace
}

// mark notes what is known before a read whose answer may be kept. Nil means it will not be.
func (n *nearCache) mark(o *callOptions, session *Session) *nearMark {
	if !n.serves(o, session) {
		return nil
	}
	proof := n.proof.Load()
	if proof.token == "" {
		return nil
	}
	return &nearMark{proof: proof, at: clock()}
}

// addTo adds the token of the last heartbeat to those of a request, if there is room.
func (m *nearMark) addTo(tokens []string) []string {
	if m == nil || len(tokens) >= maxTokens {
		return tokens
	}
	m.presented = true
	return append(tokens[:len(tokens):len(tokens)], m.proof.token)
}

// keep stores an answer, if it is fresh and nothing that may cover it has changed since the mark.
func (n *nearCache) keep(key string, mark *nearMark, response *twintierv1.GetResponse) {
	if mark == nil || !mark.presented || response.GetDegraded() {
		return
	}
	entry, facts := &nearEntry{kept: mark.at}, (*twintierv1.EntryInfo)(nil)
	if hit := response.GetHit(); hit != nil {
		entry.value, entry.contentType, facts = hit.GetValue(), hit.GetContentType(), hit.GetEntry()
	} else if negative := response.GetNegativeHit(); negative != nil {
		entry.absent, facts = true, negative.GetEntry()
	}
	if facts == nil || facts.GetStale() != nil || facts.GetRefreshDue() || response.GetLease() != nil {
		return
	}
	life := n.settings.MaxAge
	if facts.GetTtl() != nil {
		life = min(life, facts.GetTtl().AsDuration())
	}
	entry.end = mark.at + int64(life)
	entry.info = entryInfo(facts)
	entry.info.Near = true
	n.insert(key, mark.proof.changes, entry)
}

func (n *nearCache) insert(key string, known uint64, entry *nearEntry) {
	n.gate.RLock()
	defer n.gate.RUnlock()
	stripe := n.stripe(key)
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	if stripe.changed <= known && n.wide <= known {
		n.inserts.Add(1)
		n.entries.Set(key, entry)
	}
}

func (n *nearCache) stripe(key string) *nearStripe {
	return &n.stripes[maphash.String(n.seed, key)%nearStripes]
}

// drop removes keys that this client changes.
func (n *nearCache) drop(o *callOptions, keys ...string) {
	if n != nil && o.namespace == n.client.config.call.namespace {
		n.changed(keys)
	}
}

// dropSelected removes what this client invalidates.
func (n *nearCache) dropSelected(o *callOptions, selector Selector) {
	if n == nil || o.namespace != n.client.config.call.namespace {
		return
	}
	if len(selector.keys) > 0 {
		n.changed(selector.keys)
	} else {
		n.changedBelow(selector.prefix)
	}
}

// changed applies a change of keys.
func (n *nearCache) changed(keys []string) {
	n.gate.RLock()
	defer n.gate.RUnlock()
	for _, key := range keys {
		stripe := n.stripe(key)
		stripe.mu.Lock()
		stripe.changed = n.changes.Add(1)
		n.entries.Invalidate(key)
		stripe.mu.Unlock()
	}
}

// changedBelow applies a change of all keys below a prefix. The empty prefix covers all.
func (n *nearCache) changedBelow(prefix string) {
	prefix = normalize(strings.TrimRight(prefix, ":/"))
	n.gate.Lock()
	defer n.gate.Unlock()
	n.wide = n.changes.Add(1)
	if n.scanned == prefix && n.since == n.inserts.Load() {
		return // such a change comes once for each partition
	}
	n.scanned, n.since = prefix, n.inserts.Load()
	if prefix == "" {
		n.entries.InvalidateAll()
		return
	}
	for key := range n.entries.Keys() {
		if plain := normalize(key); plain == prefix || strings.HasPrefix(plain, prefix+":") {
			n.entries.Invalidate(key)
		}
	}
}

// normalize makes both separators of segments the same.
func normalize(key string) string { return strings.ReplaceAll(key, "/", ":") }

// readNear reads an entry from the near cache into target, a pointer.
func (c *Client) readNear(
	ctx context.Context, key string, o *callOptions, session *Session, target any,
) (info EntryInfo, err error, answered bool) {
	entry := c.near.find(key, o, session)
	if entry == nil {
		return EntryInfo{}, nil, false
	}
	info, err = c.acceptNear(ctx, entry, target)
	return info, err, err == nil || err == ErrAbsent
}

// acceptNear decodes an entry into target and counts it. An unreadable one is left to the service.
func (c *Client) acceptNear(ctx context.Context, entry *nearEntry, target any) (EntryInfo, error) {
	if entry.absent {
		c.counters.inc(ctx, NegativeHits)
		return EntryInfo{}, ErrAbsent
	}
	if err := entry.decode(c.config.serializer, target); err != nil {
		return EntryInfo{}, err
	}
	c.counters.inc(ctx, Hits)
	c.counters.inc(ctx, NearHits)
	return entry.aged(), nil
}

// aged returns the facts, as of now.
func (e *nearEntry) aged() EntryInfo {
	info, passed := e.info, time.Duration(clock()-e.kept)
	info.Age += passed
	if info.TTL > 0 {
		info.TTL = max(1, info.TTL-passed)
	}
	return info
}
