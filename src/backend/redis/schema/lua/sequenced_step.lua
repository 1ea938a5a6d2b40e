-- Begins a script that takes a sequence of a partition: a write or an invalidation. KEYS[1]
-- counter. ARGV: 1 not-after (microseconds of Redis's clock), 2 position that the replica has seen
-- (16 bytes), 3 identity, 4 channel, 5 head of the message, 6 its namespace, and what the caller
-- knows of the active patterns there, 7 field of the counter with the invalidations by selector,
-- then the arguments of the script itself.
if now > tonumber(ARGV[1]) then
  return {'LATE', now}
end

-- Whether a namespace's field has the layout that selector_invalidations.lua describes.
local function is_sound(record)
  if #record < 152 then
    return record == ''
  end
  for _, at in ipairs({1, 17, 41, 57, 73, 89, 105, 121}) do
    if not is_position(record:sub(at, at + 15)) then
      return false
    end
  end
  local at = 153
  while at <= #record do
    if #record < at + 57 then
      return false
    end
    for _, offset in ipairs({0, 16, 40}) do
      if not is_position(record:sub(at + offset, at + offset + 15)) then
        return false
      end
    end
    at = at + 58 + struct.unpack('>I2', record, at + 56)
  end
  return at == #record + 1
end

local epoch, sequence, fields = read_counter(KEYS[1], 'i', 'y', 'z', ARGV[7])
local lost = 0
if epoch and not (is_number(fields[6], LIMIT) and is_sound(fields[8] or '')) then
  -- The record of invalidations is lost.
  lost = epoch
  discard(KEYS[1])
  epoch, sequence, fields = nil, 0, {}
end
if not epoch then
  epoch = begin_epoch(KEYS[1], math.max(floor_of(ARGV[2], 1), lost), ARGV[3])
elseif fields[5] ~= ARGV[3] then
  return {'LIFE', now}
elseif is_behind(epoch, sequence, ARGV[2], 1) then
  return {'BEHIND', now}
end
local trusted_from = tonumber(fields[3] or epoch)
local leased_until, tagged, record = tonumber(fields[6] or 0), fields[7], fields[8] or ''
local named = ARGV[6]:sub(1, 1 + ARGV[6]:byte())
local namespace = named:sub(2)

-- Whether the counter has a field of the namespace.
local listed_here = fields[8]

-- Adds the namespace to those that the counter lists, so that an invalidation in all namespaces
-- covers what is about to be stored or leased.
local function list_namespace()
  if not listed_here then
    redis.call('HSET', KEYS[1], ARGV[7], '')
    listed_here = true
  end
end

local function advance()
  sequence = redis.call('HINCRBY', KEYS[1], 's', 1)
end

-- SET, REMOVED, MARKED and SHORTENED as the codec numbers them.
local function announce(effect, covered)
  redis.call(PUBLISH, ARGV[4], ARGV[5] .. struct.pack('>I8I8I8B', epoch, sequence, now, effect) .. named .. covered)
end
