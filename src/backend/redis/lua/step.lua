-- A write or an invalidation: one step on a partition's number line.
-- KEYS[1] counter. ARGV: 1 not-after (microseconds of Redis's clock), 2 epoch floor, 3 identity, 4 channel, 5 head and 6 tail of the
-- message, then what the step needs.
if now > tonumber(ARGV[1]) then
  return {'LATE', now}
end
local epoch, sequence, life = position(KEYS[1], ARGV[2], ARGV[3])
if life ~= ARGV[3] then
  return {'LIFE', now}
end

local function advance()
  sequence = redis.call('HINCRBY', KEYS[1], 's', 1)
end

local function announce()
  redis.call(PUBLISH, ARGV[4], ARGV[5] .. struct.pack('>I8I8I8', epoch, sequence, now) .. ARGV[6])
end
