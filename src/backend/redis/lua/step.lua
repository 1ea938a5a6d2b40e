-- A write or an invalidation: one step on a partition's number line.
-- KEYS[1] counter. ARGV: 1 not-after (microseconds of Redis's clock), 2 epoch floor, 3 identity, 4 channel, 5 head of the message, 6 its
-- namespace, and what the caller knows of the patterns at work there, 7 field of what was invalidated in the namespace, then what the step
-- needs.
if now > tonumber(ARGV[1]) then
  return {'LATE', now}
end
local line = redis.call('HMGET', KEYS[1], 'e', 's', 'i', 't', 'y', 'z', ARGV[7])
local epoch, sequence = tonumber(line[1]), tonumber(line[2] or 0)
if not epoch then
  epoch = begin_epoch(KEYS[1], ARGV[2], ARGV[3])
elseif line[3] ~= ARGV[3] then
  return {'LIFE', now}
end
local trusted_from = tonumber(line[4] or epoch)
local leased_until, tagged = tonumber(line[5] or 0), line[6]
local named = ARGV[6]:sub(1, 1 + ARGV[6]:byte())
local namespace = named:sub(2)

local function advance()
  sequence = redis.call('HINCRBY', KEYS[1], 's', 1)
end

-- SET, REMOVED, MARKED and SHORTENED as the codec numbers them.
local function announce(effect, covered)
  redis.call(PUBLISH, ARGV[4], ARGV[5] .. struct.pack('>I8I8I8B', epoch, sequence, now, effect) .. named .. covered)
end
