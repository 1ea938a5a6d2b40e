-- What was invalidated in the namespace other than by key. A stone is what is known of one selector: position of its last removal; position
-- and time of its last marking, and position of the marking before that; without markings only the first. The field of the namespace holds
-- the stone of the whole namespace, the position of the latest stone in the hashes, the floor before which everything is gone, the births of
-- the young and the old hash, number of the list of patterns, and who is at work on it until when; then each pattern: stone, size, bytes.
-- The hashes hold the stones of prefixes and tags, and their own birth, so that one that was evicted is told from one that says nothing.
local STONE, RECORD, SEGMENTS = 56, 152, 16
local NEVER, BIRTH = NOWHERE, 'b'

if #record < RECORD then
  record = string.rep('\0', RECORD)
end
local whole = record:sub(1, STONE)
local latest_e, latest_s, floor_e, floor_s = struct.unpack('>I8I8I8I8', record, STONE + 1)
local young_birth, old_birth, list = record:sub(89, 104), record:sub(105, 120), record:sub(121, 136)
local worker, patterns = record:sub(137, RECORD), record:sub(RECORD + 1)
local young = KEYS[1]:sub(1, -2) .. 't:' .. namespace
local old = KEYS[1]:sub(1, -2) .. 'o:' .. namespace
-- The stones of the patterns that match, by name of entry or lease, as far as the caller knows them.
local matching = {}

local function is_before(e, s, other_e, other_s)
  return e < other_e or (e == other_e and s < other_s)
end

local function read_stone(stone)
  return struct.unpack('>I8I8I8I8I8I8I8', #stone == STONE and stone or stone .. string.rep('\0', STONE - #stone))
end

-- The patterns at work, or those of another list of that form: for each what the list has of it, its stone, and its bytes.
local function listed_in(patterns)
  local listed, at = {}, 1
  while at <= #patterns do
    local size = struct.unpack('>I2', patterns, at + STONE)
    local whole = patterns:sub(at, at + STONE + 1 + size)
    listed[#listed + 1] = {whole, whole:sub(1, STONE), whole:sub(STONE + 3)}
    at = at + STONE + 2 + size
  end
  return listed
end

-- The number of a list that is not the one before.
local function next_list()
  local _, number = struct.unpack('>I8I8', list)
  return struct.pack('>I8I8', epoch, number + 1)
end

-- The fields that a key, the end of `name`, and its tags are selected by: those of its prefixes, which end where its segments do.
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

-- How what was written, or granted, at e-s is covered: whether it is gone, and since when it is marked stale.
local function coverage(e, s, written, name, tags)
  local gone, marked = is_before(e, s, floor_e, floor_s), nil
  local function look_at(stone)
    local removed_e, removed_s, marked_e, marked_s, since, before_e, before_s = read_stone(stone)
    gone = gone or is_before(e, s, removed_e, removed_s)
    if is_before(e, s, marked_e, marked_s) then
      if is_before(e, s, before_e, before_s) then
        -- The first marking is not known any more: not before it was written.
        since = math.min(since, written)
      end
      marked = math.min(marked or since, since)
    end
  end
  local function look_into(hash, birth, fields)
    local stones = redis.pcall('HMGET', hash, unpack(fields))
    if stones[1] ~= birth then
      gone = true
      return
    end
    for index = 2, #fields do
      if stones[index] then
        look_at(stones[index])
      end
    end
  end
  look_at(whole)
  if matching[name] then
    look_at(matching[name])
  end
  if not gone and young_birth ~= NEVER and is_before(e, s, latest_e, latest_s) then
    local fields = fields_of(name, type(tags) == 'function' and tags() or tags)
    look_into(young, young_birth, fields)
    if old_birth ~= NEVER and is_before(e, s, struct.unpack('>I8I8', young_birth)) then
      look_into(old, old_birth, fields)
    end
  end
  return gone, marked
end
