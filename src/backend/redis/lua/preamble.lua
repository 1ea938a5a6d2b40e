-- Shared by all scripts. A counter is a hash: e epoch, s sequence, i identity of the primary, n:<namespace> its last invalidation.
-- Epochs are microseconds of Redis's clock and stay below 2^53, so that Lua's doubles hold them exactly.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function begin_epoch(counter, floor, identity)
  local epoch = math.max(now, tonumber(floor) + 1)
  redis.call('HSET', counter, 'e', string.format('%.0f', epoch), 'i', identity)
  return epoch
end

-- The position of a counter, and the life of the primary it belongs to. A counter that is gone begins a new epoch: with it went the order of everything before.
local function position(counter, floor, identity)
  local line = redis.call('HMGET', counter, 'e', 's', 'i')
  if line[1] then
    return tonumber(line[1]), tonumber(line[2] or 0), line[3]
  end
  return begin_epoch(counter, floor, identity), 0, identity
end
