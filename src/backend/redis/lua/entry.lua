-- What is stored under a key: the codec says how it is laid out.
local HEAD, MARKED_AT = 87, 58
local HAS_SOURCE = 2

local dead_epoch, dead_sequence = string.match(line[7] or '0-0', '^(%d+)-(%d+)$')
dead_epoch, dead_sequence = tonumber(dead_epoch), tonumber(dead_sequence)

local function is_before(e, s, other_e, other_s)
  return e < other_e or (e == other_e and s < other_s)
end

local function flag(flags, bit)
  return flags % (2 * bit) >= bit
end

-- The head of what is stored, none when that is nothing of ours.
local function head_of(name)
  local bytes = redis.pcall('GETRANGE', name, 0, HEAD - 1)
  if type(bytes) ~= 'string' or #bytes < HEAD or bytes:sub(1, 2) ~= 'T\1' then
    return nil
  end
  local head = {bytes = bytes, version = bytes:sub(3, 18)}
  head.e, head.s, head.written, head.ttl, head.window, head.soft, head.slide, head.marked = struct.unpack('>I8I8I8I8I8I8I8I8', bytes, 3)
  head.flags, head.tags = string.byte(bytes, 79), struct.unpack('>I2', bytes, 85)
  head.source = flag(head.flags, HAS_SOURCE) and bytes:sub(67, 74)
  return head
end

-- The remaining time to live (ms) of what is stored, -1 for none; 0 when it has passed.
local function remaining(name, head)
  if head.ttl == 0 then
    return -1
  end
  return math.max(redis.call('PTTL', name) - head.window, 0)
end

-- Whether an entry counts: one of an epoch that does, and not invalidated with what covers it.
local function counts(head)
  return head.e >= trusted_from and head.e <= epoch and not is_before(head.e, head.s, dead_epoch, dead_sequence)
end

-- Whether an entry may be answered without a flag.
local function lives(name, head)
  if not head or head.marked > 0 or not counts(head) then
    return false
  end
  local left = remaining(name, head)
  return left == -1 or left > 0
end

-- The tags of an entry, each with its length before it.
local function tags_of(name, head)
  if not head or head.tags == 0 then
    return ''
  end
  return redis.call('GETRANGE', name, HEAD, HEAD + head.tags - 1)
end

-- Versions of sources are wider than Lua's numbers.
local function is_older(source, other)
  local high, low = struct.unpack('>I4I4', source)
  local other_high, other_low = struct.unpack('>I4I4', other)
  return high < other_high or (high == other_high and low < other_low)
end

-- A key as a message names it.
local function covered(key, tags)
  return key .. struct.pack('>I2', #tags) .. tags
end

-- The newest version of its source that is known of a key: of its entry, or of one that was invalidated.
local function newest_source(head, remembered)
  local before = redis.call('GET', remembered)
  if before and #before ~= 8 then
    before = nil
  end
  local own = head and head.source
  if own and before then
    return is_older(own, before) and before or own
  end
  return own or before or nil
end

-- Who holds the lease of a key: its identity, and when it was granted. None when nobody does, or what covers the key was invalidated since.
-- An identity of zeros: nobody may hold it for a while.
local NOBODY = string.rep('\0', 16)
local function lease_of(name)
  local lease = now < leased_until and redis.call('GET', name)
  if not lease or #lease ~= 40 then
    return nil
  end
  local e, s, at = struct.unpack('>I8I8I8', lease, 17)
  if e ~= epoch or is_before(e, s, dead_epoch, dead_sequence) then
    return nil
  end
  return lease:sub(1, 16), at
end
