-- Functions on stored entries and leases. The codec describes the layout.
local HEAD, MARKED_AT = 87, 58
local HAS_SOURCE = 2

-- Scripts do not match patterns: the caller says which of them match which name. A caller that
-- knows another list has to try again.
if patterns ~= '' then
  local known, at = ARGV[6]:sub(#named + 1), 17
  if known:sub(1, 16) ~= list then
    return {'PATTERNS', epoch, sequence, list .. patterns}
  end
  for index = 2, #KEYS do
    if known:byte(at) == 1 then
      matching[KEYS[index]] = known:sub(at + 1, at + SELECTOR_RECORD)
      at = at + SELECTOR_RECORD
    end
    at = at + 1
  end
end

local function flag(flags, bit)
  return flags % (2 * bit) >= bit
end

-- The head of a stored entry, nil if there is none of this service.
local function head_of(name)
  local bytes = redis.pcall('GETRANGE', name, 0, HEAD - 1)
  if type(bytes) ~= 'string' or #bytes < HEAD or bytes:sub(1, 2) ~= 'T\1' then
    return nil
  end
  local head = {bytes = bytes, name = name, version = bytes:sub(3, 18)}
  head.e, head.s, head.written, head.ttl, head.window, head.soft, head.slide, head.marked = struct.unpack('>I8I8I8I8I8I8I8I8', bytes, 3)
  head.flags, head.tags = string.byte(bytes, 79), struct.unpack('>I2', bytes, 85)
  head.source = flag(head.flags, HAS_SOURCE) and bytes:sub(67, 74)
  return head
end

-- The bytes of a value of this service, nil if it has another size. The rest of a larger one is not
-- read.
local function record_of(name, size)
  local bytes = own('GETRANGE', name, 0, size)
  return #bytes == size and bytes or nil
end

-- The remaining time to live (ms) of an entry: -1 without an end, 0 if it has passed.
local function remaining(name, head)
  if head.ttl == 0 then
    return -1
  end
  return math.max(redis.call('PTTL', name) - head.window, 0)
end

-- The tags of an entry, each with its length before it.
local function tags_of(name, head)
  if not head or head.tags == 0 then
    return ''
  end
  return redis.call('GETRANGE', name, HEAD, HEAD + head.tags - 1)
end

-- Returns the tag field of a message about an entry that is gone: "unknown", because a replica may
-- still hold the entry with its tags. If no entry of the partition ever had tags, the field is empty.
local function unknown_tags(head)
  return not head and tagged and '\0' or ''
end

-- Returns whether an entry is invalidated, and since when it is marked stale by a selector.
local function coverage_of(head)
  if head.gone == nil then
    local tags = function() return tags_of(head.name, head) end
    head.gone, head.marked_since = coverage(head.e, head.s, head.written, head.name, tags)
  end
  return head.gone, head.marked_since
end

-- Whether an entry counts: its epoch does, and no selector invalidated it.
local function counts(head)
  if head.e < trusted_from or head.e > epoch then
    return false
  end
  local gone, marked = coverage_of(head)
  return not gone and (not marked or head.window > 0)
end

-- Whether an entry may be answered without a flag.
local function lives(name, head)
  if not head or head.marked > 0 or not counts(head) or head.marked_since then
    return false
  end
  local left = remaining(name, head)
  return left == -1 or left > 0
end

-- Source versions are wider than Lua's numbers.
local function is_older(source, other)
  local high, low = struct.unpack('>I4I4', source)
  local other_high, other_low = struct.unpack('>I4I4', other)
  return high < other_high or (high == other_high and low < other_low)
end

-- A key as a message names it.
local function covered(key, tags)
  return key .. struct.pack('>I2', #tags) .. tags
end

-- The newest known source version of a key: of its entry, or of an invalidated one.
local function newest_source(head, remembered)
  local before = record_of(remembered, 8)
  local own = head and head.source
  if own and before then
    return is_older(own, before) and before or own
  end
  return own or before or nil
end

-- Remembers the source version of an entry, unless a newer one is remembered, for five minutes
-- after `left` ms at least. The name is that of the entry with another letter after the hash tag,
-- which no prefix and no partition can contain.
local function remember_source(name, source, left)
  local remembered = string.gsub(name, '}:v:', '}:x:', 1)
  local before = redis.pcall('GET', remembered)
  local known = type(before) == 'string' and #before == 8
  if known and is_older(source, before) then
    source = before
  end
  local lasts = known and redis.call('PTTL', remembered) or 0
  redis.call('SET', remembered, source, 'PX', math.max(left + 300000, lasts))
end

-- The holder of a lease that no caller may get: it is paused.
local NOBODY = NOWHERE

-- The holder of a key's lease: its id, and when it was granted. Nil if there is none, or a selector
-- of the key, or of an entry with these tags, was invalidated since.
local function lease_of(name, tags)
  local lease = now < leased_until and record_of(name, 40)
  if not lease then
    return nil
  end
  local e, s, at = struct.unpack('>I8I8I8', lease, 17)
  -- Granted later than now: the clock was set back, and Redis would keep the lease for longer than
  -- it was granted.
  if e ~= epoch or at > now then
    return nil
  end
  local gone, marked = coverage(e, s, at, name, tags or '')
  if gone or marked then
    return nil
  end
  return lease:sub(1, 16), at
end
