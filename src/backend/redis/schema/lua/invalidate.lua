-- Invalidates by selectors: all matching entries from before this position are removed, or marked
-- stale. KEYS[2] and KEYS[3] the young and the old hash, named here for a slot that moves. ARGV: 8
-- 'remove' or 'mark', 9 selectors as messages name them, 10 limit of records in a hash.
local REMOVED, MARKED = 2, 3
local WHOLE, PATTERN, PATTERNS = 0, 3, 16
local selectors, at = {}, 1
while at <= #ARGV[9] do
  local kind, size = struct.unpack('>BI2', ARGV[9], at)
  selectors[#selectors + 1] = {kind, ARGV[9]:sub(at + 3, at + 2 + size)}
  at = at + 3 + size
end

local listed, order = {}, {}
for index, pattern in ipairs(listed_in(patterns)) do
  order[index], listed[pattern[3]] = pattern[3], pattern[2]
end
for _, selector in ipairs(selectors) do
  if selector[1] == PATTERN and not listed[selector[2]] then
    order[#order + 1], listed[selector[2]] = selector[2], string.rep('\0', SELECTOR_RECORD)
  end
end
if #order > PATTERNS then
  return {'FULL', epoch, sequence, PATTERNS}
end

advance()
local here = struct.pack('>I8I8', epoch, sequence)

local function raised(selector_record)
  local removed_e, removed_s, marked_e, marked_s, since, before_e, before_s = read_record(selector_record)
  if ARGV[8] == 'mark' then
    return struct.pack('>I8I8I8I8I8I8I8', removed_e, removed_s, epoch, sequence, now, marked_e, marked_s)
  end
  return struct.pack('>I8I8I8I8I8I8I8', epoch, sequence, marked_e, marked_s, since, before_e, before_s)
end

-- Makes sure that the young hash exists, is complete, and has room.
local function prepare()
  if young_birth ~= NEVER and redis.pcall('HGET', young, BIRTH) ~= young_birth then
    -- It was evicted, and its records are lost: everything before its last record counts as
    -- invalidated.
    floor_e, floor_s = latest_e, latest_s
    young_birth, old_birth = NEVER, NEVER
    redis.call('UNLINK', old)
  elseif young_birth ~= NEVER and redis.call('HLEN', young) > tonumber(ARGV[10]) then
    if old_birth ~= NEVER then
      -- All records of the old hash are from before the birth of the young one.
      floor_e, floor_s = struct.unpack('>I8I8', young_birth)
      redis.call('UNLINK', old)
    end
    redis.call('RENAME', young, old)
    young_birth, old_birth = NEVER, young_birth
  end
  if young_birth == NEVER then
    redis.call('UNLINK', young)
    redis.call('HSET', young, BIRTH, here)
    young_birth = here
  end
  prepare = function() end
end

for _, selector in ipairs(selectors) do
  local kind, bytes = selector[1], selector[2]
  if kind == PATTERN then
    listed[bytes] = raised(listed[bytes])
  elseif kind ~= WHOLE then
    prepare()
    local field = string.char(kind) .. bytes
    local selector_record = raised(redis.call('HGET', young, field) or '')
    redis.call('HSET', young, field, selector_record:sub(17) == string.rep('\0', SELECTOR_RECORD - 16) and selector_record:sub(1, 16) or selector_record)
    latest_e, latest_s = epoch, sequence
  end
end
for _, selector in ipairs(selectors) do
  if selector[1] == WHOLE then
    whole = raised(whole)
    if ARGV[8] == 'remove' then
      -- All entries that other records select are gone.
      redis.call('UNLINK', young, old)
      young_birth, old_birth, order = NEVER, NEVER, {}
      latest_e, latest_s, floor_e, floor_s = 0, 0, 0, 0
    end
  end
end

local now_listed = {}
for index, pattern in ipairs(order) do
  now_listed[index] = listed[pattern] .. struct.pack('>I2', #pattern) .. pattern
end
now_listed = table.concat(now_listed)
if now_listed ~= patterns then
  list = next_list()
end
local positions = struct.pack('>I8I8I8I8', latest_e, latest_s, floor_e, floor_s)
redis.call('HSET', KEYS[1], ARGV[7], whole .. positions .. young_birth .. old_birth .. list .. claimant .. now_listed)
announce(ARGV[8] == 'mark' and MARKED or REMOVED, ARGV[9])
return {'OK', epoch, sequence}
