-- Shared by all scripts. A counter is a hash: e epoch, s sequence, i identity of the primary, t the epoch from which on entries count,
-- n:<namespace> what was invalidated in it other than by key, r:<replica> time of its last audit, p number of partitions, a time of the last audit of
-- any replica, b the time since when replicas register here, and
-- k the time of the last takeover or jump of the clock, before which the registry says nothing. After a takeover that is not settled yet also u what t becomes then, w replicas that are waited for, m since when; and l the
-- position at which the server took over. Epochs are microseconds of Redis's clock and stay below 2^53, so that Lua's doubles hold them.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function digits(number)
  return string.format('%.0f', number)
end

-- A counter that is gone begins a new epoch: with it went the order of everything before.
local function begin_epoch(counter, floor, identity)
  local epoch = RESTARTS or math.max(now, tonumber(floor) + 1)
  redis.call('HSET', counter, 'e', digits(epoch), 'i', identity, 't', digits(epoch))
  redis.call('HSETNX', counter, 'b', digits(now))
  return epoch
end

-- The position of a counter, and the life of the primary it belongs to.
local function position(counter, floor, identity)
  local line = redis.call('HMGET', counter, 'e', 's', 'i')
  if line[1] then
    return tonumber(line[1]), tonumber(line[2] or 0), line[3]
  end
  return begin_epoch(counter, floor, identity), 0, identity
end
