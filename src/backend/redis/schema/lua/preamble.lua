-- Shared by all scripts. A counter is a hash: e epoch, s sequence, i identity of the primary, t the
-- first epoch whose entries count, n:<namespace> the invalidations by selector of a namespace, ''
-- if there are none: one field for each namespace of which anything was stored or leased,
-- r:<replica> time of its last audit, p number of partitions, a time of the last audit of any
-- replica, b time since when replicas register here, k time of the last takeover or jump of the
-- clock, before which the registry proves nothing, and g one more than the configuration epoch
-- under which sentinels named the primary when it took over. After a takeover that is not settled
-- yet also u the value that t gets then, w replicas that are waited for, m since when; and l the
-- position at which the server took over; and x the highest epoch that was refused because it lay
-- too far ahead of the clock: entries of it may be left. Epochs are microseconds of Redis's clock
-- and stay below 2^53, so that Lua's doubles hold them.
local LIMIT, NOWHERE = 9007199254740992, string.rep('\0', 16)
-- Farthest that an epoch may lie ahead of the clock (microseconds, a day). One that lies farther
-- ahead is forged, or the clock was set back.
local HORIZON = 86400000000
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function digits(number)
  return string.format('%.0f', number)
end

-- The number in a text: whole, below 2^53, in plain decimal. Nil for anything else.
local function whole(text)
  if not text or text == '' or #text > 16 or string.find(text, '%D') then
    return nil
  end
  local number = tonumber(text)
  return number < LIMIT and number or nil
end

-- Names that held foreign values. The reply lists them.
local repaired = {}

-- Deletes a name that holds a foreign value.
local function discard(name)
  redis.call('UNLINK', name)
  repaired[#repaired + 1] = name
end

-- Runs a command on a name. A name of another type is deleted first.
local function own(command, name, ...)
  local reply = redis.pcall(command, name, ...)
  if type(reply) ~= 'table' or not reply.err then
    return reply
  end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then
    discard(name)
  end
  return redis.call(command, name, ...)
end

-- Whether 16 bytes are a position.
local function is_position(bytes)
  local e, s = struct.unpack('>I8I8', bytes)
  return e < LIMIT and s < LIMIT
end

-- Whether the text of a field, if there is one, is a number up to `most`.
local function is_number(text, most)
  local number = not text and 0 or whole(text)
  return number ~= nil and number <= most
end

-- The highest epoch that was found too far ahead, until the next epoch begins.
local ahead = 0

-- Reads a counter: epoch, sequence, and a list of e, s, t, u and the further fields named. Without
-- a counter the epoch is nil. Deletes a damaged counter: the order of everything before is lost
-- with its numbers.
local function read_counter(counter, ...)
  local fields = own('HMGET', counter, 'e', 's', 't', 'u', ...)
  local epoch, sequence = whole(fields[1]), fields[2] and whole(fields[2]) or not fields[2] and 0
  if epoch and epoch > 0 and epoch <= now + HORIZON and sequence and sequence < LIMIT - 1
      and (fields[3] == fields[1] or is_number(fields[3], epoch)) and (not fields[4] or is_number(fields[4], epoch)) then
    return epoch, sequence, fields
  end
  if epoch and epoch > now + HORIZON then
    ahead = math.max(ahead, epoch)
  end
  if fields[1] or fields[2] or fields[3] or fields[4] then
    discard(counter)
  end
  return nil, 0, {}
end

-- The fields p, a, b and k of the counter that keeps a registry. Deletes the counter if one of them
-- is damaged.
local function registry_of(counter)
  local registry = own('HMGET', counter, 'p', 'a', 'b', 'k')
  for field = 1, 4 do
    if not is_number(registry[field], LIMIT) then
      discard(counter)
      return {}
    end
  end
  return registry
end

-- The epoch of a position that a replica has seen (16 bytes of `floors`, from `at` on). An epoch
-- that lies too far ahead does not count.
local function floor_of(floors, at)
  local e = struct.unpack('>I8', floors, at)
  if e <= now + HORIZON then
    return e
  end
  ahead = math.max(ahead, e)
  return 0
end

-- Whether a counter is below that position: it is older data than this replica has seen.
local function is_behind(epoch, sequence, floors, at)
  local e, s = struct.unpack('>I8I8', floors, at)
  return (epoch < e or (epoch == e and sequence < s)) and e <= now + HORIZON
end

-- Begins a new epoch above `floor`: the order of everything before is lost with the counter.
local function begin_epoch(counter, floor, identity)
  local epoch = now
  if floor >= now then
    -- The clock went back. Another replica may have begun an epoch above the same floor, which is
    -- gone, too: the clock tells them apart.
    epoch = floor + 1 + now % 16777216
  end
  if epoch > now + HORIZON then
    epoch = now
  end
  epoch = RESTARTS or epoch
  redis.call('HSET', counter, 'e', digits(epoch), 'i', identity, 't', digits(epoch))
  redis.call('HSETNX', counter, 'b', digits(now))
  if ahead > epoch then
    redis.call('HSET', counter, 'x', digits(ahead))
  end
  ahead = 0
  return epoch
end
