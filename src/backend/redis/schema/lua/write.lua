-- Writes entries. ARGV: 8 '' for entries that may be overwritten, 'once' for entries that are
-- written once and never overwritten, 'quiet' for such entries without a message: they take no
-- sequence, unless a caller waits for the lease. Then for each entry: condition ('' none, 'absent',
-- 'present', 'v' and a version, 'l' and a lease), time (ms) that it is kept (0 no end), time
-- (microseconds) until which reads may extend it (0 not sliding), its header after version and
-- time, value, key as messages name it, its tags as they do, and 'request' if the request is
-- remembered. KEYS for each entry: its name, its lease's, that of its remembered source version if
-- it has one, and its request's if that is remembered.
local REMEMBERED = 300000
local STORED, ALREADY_PRESENT, NOT_PRESENT, VERSION_MISMATCH, LEASE_VOID, SOURCE_VERSION_OLDER = 0, 1, 2, 3, 4, 5
local ARGS = 8
local once, quiet = ARGV[8] == 'once' or ARGV[8] == 'quiet', ARGV[8] == 'quiet'

local function verdict(item)
  local condition, source = item.condition, item.source
  if condition == '' and not source and not tagged and not once then
    return STORED
  end
  local head = head_of(item.name)
  item.old_tags, item.unknown_tags = tags_of(item.name, head), unknown_tags(head)
  local newest = source and newest_source(head, item.remembered)
  if newest and is_older(source, newest) then
    return SOURCE_VERSION_OLDER, head and head.version or ''
  end
  if once and lives(item.name, head) then
    return ALREADY_PRESENT, head.version
  end
  local kind = condition:sub(1, 1)
  if kind == '' then
    return STORED
  elseif kind == 'l' then
    local holder, granted_at = lease_of(item.lease, item.tags .. item.old_tags)
    if holder ~= condition:sub(2) or holder == NOBODY then
      return LEASE_VOID, ''
    end
    item.cost = math.max(now - granted_at, 0)
    return STORED
  end
  local alive = lives(item.name, head)
  local current = alive and head.version or ''
  if condition == 'absent' then
    return alive and ALREADY_PRESENT or STORED, current
  elseif condition == 'present' then
    return alive and STORED or NOT_PRESENT, current
  end
  return current == condition:sub(2) and STORED or VERSION_MISMATCH, current
end

-- Whether this is a remembered request: its outcome, and the version of the entry then, which a
-- stored one has.
local function is_outcome(bytes)
  if #bytes ~= 17 or not is_position(bytes:sub(2)) then
    return false
  end
  local outcome = bytes:byte()
  return outcome <= SOURCE_VERSION_OLDER and (outcome ~= STORED or bytes:sub(2) ~= NOWHERE)
end

local items, results, stored = {}, {}, {}
local key = 2
for arg = 9, #ARGV, ARGS do
  local item = {name = KEYS[key], lease = KEYS[key + 1], condition = ARGV[arg], keep = ARGV[arg + 1], slide = tonumber(ARGV[arg + 2]),
    header = ARGV[arg + 3], value = ARGV[arg + 4], key = ARGV[arg + 5], tags = ARGV[arg + 6], old_tags = '', unknown_tags = '', cost = 0}
  item.source = flag(string.byte(item.header, 53), HAS_SOURCE) and item.header:sub(41, 48)
  key = key + 2
  if item.source then
    item.remembered = KEYS[key]
    key = key + 1
  end
  if ARGV[arg + 7] == 'request' then
    item.request = KEYS[key]
    key = key + 1
  end
  items[#items + 1] = item
  local before = item.request and record_of(item.request, 17)
  if before and not is_outcome(before) then
    discard(item.request)
    before = nil
  end
  if before then
    item.result = {string.byte(before), before:sub(2), 1, 0}
  else
    local outcome, current = verdict(item)
    item.result = {outcome, current or '', 0, 0}
    if outcome == STORED then
      stored[#stored + 1] = item
    end
  end
  results[#results + 1] = item.result
end

if quiet and leased_until > 0 then
  for _, item in ipairs(stored) do
    quiet = quiet and redis.call('EXISTS', item.lease) == 0
  end
end
if #stored > 0 and not quiet then
  advance()
end
local version = struct.pack('>I8I8', epoch, sequence)
local changed, has_tags = {}, false
for index, item in ipairs(stored) do
  changed[index] = covered(item.key, item.tags .. item.old_tags .. item.unknown_tags)
  has_tags = has_tags or item.tags ~= ''
  item.result[2], item.result[4] = version, item.cost
end
if #stored > 0 then
  list_namespace()
end
if has_tags and not tagged then
  redis.call('HSET', KEYS[1], 'z', '1')
end
for _, item in ipairs(stored) do
  local header = item.header
  if item.slide > 0 then
    header = header:sub(1, 24) .. struct.pack('>I8', now + item.slide) .. header:sub(33)
  end
  if item.cost > 0 then
    header = header:sub(1, 48) .. struct.pack('>I4', math.min(math.ceil(item.cost / 1000), 4294967295)) .. header:sub(53)
  end
  local bytes = 'T\1' .. version .. struct.pack('>I8', now) .. header .. item.value
  if item.keep == '0' then
    redis.call('SET', item.name, bytes)
  else
    redis.call('SET', item.name, bytes, 'PX', item.keep)
    if item.source then
      -- However it ends early, its source version is remembered for as long afterwards.
      redis.call('SET', item.remembered, item.source, 'PX', item.keep + REMEMBERED)
    end
  end
  if leased_until > 0 then
    redis.call('UNLINK', item.lease)
  end
end
for _, item in ipairs(items) do
  if item.request and item.result[3] == 0 then
    redis.call('SET', item.request, struct.pack('B', item.result[1]) .. (item.result[2] == '' and string.rep('\0', 16) or item.result[2]), 'PX', REMEMBERED)
  end
end
if #stored > 0 and not quiet then
  announce(1, table.concat(changed))
end
return {'OK', epoch, sequence, results}
