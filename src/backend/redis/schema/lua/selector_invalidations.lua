-- The invalidations by selector of a namespace. A selector record holds the last invalidations of
-- one selector: position of the last removal; position and time of the last marking, and position
-- of the marking before that; without markings only the first. The field of the namespace holds the
-- selector record of the whole namespace, the position of the latest record in the hashes, the
-- floor before which everything counts as invalidated, the births of the young and the old hash,
-- number of the list of patterns, and which replica has claimed their reclaim until when; then each
-- pattern: selector record, size, bytes. The hashes hold the records of prefixes and tags, and
-- their own birth, so that an evicted one differs from an empty one.
local SELECTOR_RECORD, RECORD, SEGMENTS = 56, 152, 16
local NEVER, BIRTH = NOWHERE, 'b'

if #record < RECORD then
  record = string.rep('\0', RECORD)
end
local whole = record:sub(1, SELECTOR_RECORD)
local latest_e, latest_s, floor_e, floor_s = struct.unpack('>I8I8I8I8', record, SELECTOR_RECORD + 1)
local young_birth, old_birth, list = record:sub(89, 104), record:sub(105, 120), record:sub(121, 136)
local claimant, patterns = record:sub(137, RECORD), record:sub(RECORD + 1)
local young = KEYS[1]:sub(1, -2) .. 't:' .. namespace
local old = KEYS[1]:sub(1, -2) .. 'o:' .. namespace
-- The selector records of matching patterns, by name of entry or lease, as far as the caller knows
-- them.
local matching = {}

local function is_before(e, s, other_e, other_s)
  return e < other_e or (e == other_e and s < other_s)
end

local function read_record(selector_record)
  return struct.unpack('>I8I8I8I8I8I8I8', #selector_record == SELECTOR_RECORD and selector_record or selector_record .. string.rep('\0', SELECTOR_RECORD - #selector_record))
end

-- The active patterns, or those of another list of that form: for each its part of the list, its
-- selector record, and its bytes.
local function listed_in(patterns)
  local listed, at = {}, 1
  while at <= #patterns do
    local size = struct.unpack('>I2', patterns, at + SELECTOR_RECORD)
    local whole = patterns:sub(at, at + SELECTOR_RECORD + 1 + size)
    listed[#listed + 1] = {whole, whole:sub(1, SELECTOR_RECORD), whole:sub(SELECTOR_RECORD + 3)}
    at = at + SELECTOR_RECORD + 2 + size
  end
  return listed
end

-- The number of the next list.
local function next_list()
  local _, number = struct.unpack('>I8I8', list)
  return struct.pack('>I8I8', epoch, number + 1)
end

-- The fields that select a key, the end of `name`, and its tags. Prefixes end where segments of the
-- key do.
local function fields_of(name, tags)
  local key = name:sub(name:find('}', 1, true) + 5 + #namespace)
  local fields, from = {BIRTH}, 1
  for _ = 1, SEGMENTS do
    local at = key:find('[:/]', from)
    local prefix = key:sub(1, (at or 0) - 1)
    if prefix ~= '' then
      fields[#fields + 1] = '\1' .. prefix
    end
    if not at then
      break
    end
    from = at + 1
  end
  local at = 1
  while at <= #tags do
    local size = tags:byte(at)
    fields[#fields + 1] = '\2' .. tags:sub(at + 1, at + size)
    at = at + 1 + size
  end
  return fields
end

-- Returns whether an entry or a lease of e-s is invalidated, and since when it is marked stale.
local function coverage(e, s, written, name, tags)
  local gone, marked = is_before(e, s, floor_e, floor_s), nil
  local function apply_record(selector_record)
    local removed_e, removed_s, marked_e, marked_s, since, before_e, before_s = read_record(selector_record)
    gone = gone or is_before(e, s, removed_e, removed_s)
    if is_before(e, s, marked_e, marked_s) then
      if is_before(e, s, before_e, before_s) then
        -- The first marking is forgotten: it was not before the entry was written.
        since = math.min(since, written)
      end
      marked = math.min(marked or since, since)
    end
  end
  local function apply_hash(hash, birth, fields)
    local records = redis.pcall('HMGET', hash, unpack(fields))
    if records[1] ~= birth then
      gone = true
      return
    end
    for index = 2, #fields do
      if records[index] then
        apply_record(records[index])
      end
    end
  end
  apply_record(whole)
  if matching[name] then
    apply_record(matching[name])
  end
  if not gone and young_birth ~= NEVER and is_before(e, s, latest_e, latest_s) then
    local fields = fields_of(name, type(tags) == 'function' and tags() or tags)
    apply_hash(young, young_birth, fields)
    if old_birth ~= NEVER and is_before(e, s, struct.unpack('>I8I8', young_birth)) then
      apply_hash(old, old_birth, fields)
    end
  end
  return gone, marked
end
