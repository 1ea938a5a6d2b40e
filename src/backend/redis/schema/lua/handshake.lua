-- Handshake of a connection. KEYS counters of a group of partitions. ARGV: 1 position that the
-- replica has seen of each partition (16 bytes each), 2 identity of this primary, 3 number of
-- partitions of the deployment, 4 the last audit of a deployment of another number, if that
-- deployment is known to be gone, 5 'repair', 'cold', or in test builds 'trust', 6 time
-- (microseconds) without an audit after which a replica was not live, 7 longest pause between
-- audits (microseconds), 8 one more than the configuration epoch under which sentinels name this
-- primary, 0 without sentinels.
--
-- A counter last seen on another primary, or in another life of this one, begins a new epoch: the
-- last acknowledged changes may be missing here. So does one below the position that this replica
-- has seen: the same life came back after another server had taken over, whose changes are missing
-- here. So does one under a configuration epoch that is two or more above the one under which this
-- server took over: each failover adds at least one. (One more is no reason: during a failover the
-- address may be known before the epoch.)
--
-- To repair, entries from before do not count until the replicas that were live have invalidated
-- again. After an epoch that lay too far ahead of the clock they do not count at all: the new epoch
-- may be above it, and what was invalidated since then was so at lower positions.
local deployed = registry_of(KEYS[1])
if deployed[1] and deployed[1] ~= ARGV[3] and (deployed[2] or '') ~= ARGV[4] then
  return {'PARTITIONS', tonumber(deployed[1]), deployed[2] or ''}
end

-- Returns the replicas that had audited shortly before the server's last audit, nil if the registry
-- is too young to tell. Removes those that are long gone.
local awaited
local function live_replicas()
  local latest, born = tonumber(deployed[2] or 0), tonumber(deployed[3] or 0)
  if redis.call('HGET', KEYS[1], 'b') ~= deployed[3] then
    return nil
  end
  if awaited or born == 0 or latest - born < tonumber(ARGV[6]) then
    return awaited
  end
  awaited = ''
  for _, member in ipairs(registered(KEYS[1])) do
    local age = latest - member[2]
    -- A time from before the last takeover is of another clock.
    if age < tonumber(ARGV[6]) or member[2] < tonumber(deployed[4] or 0) then
      awaited = awaited .. member[1] .. ';'
    elseif age > 10 * tonumber(ARGV[6]) then
      redis.call('HDEL', KEYS[1], member[1])
    end
  end
  return awaited
end

-- A primary without replicas forgets after a while from which one it was promoted: it is the same
-- life.
local function same_life(before)
  local run = string.match(ARGV[2], '^(%w+):0+:%-1$')
  return before == ARGV[2] or (run and before and before:sub(1, #run + 1) == run .. ':')
end

-- Whether sentinels named another primary since the counter began its epoch.
local term = whole(ARGV[8]) or 0
local function was_replaced(before)
  local begun = whole(before)
  return term > 0 and begun ~= nil and term >= begun + 2
end

local positions, taken_over = {}, false
for index, counter in ipairs(KEYS) do
  local floor = 16 * index - 15
  local epoch, sequence, fields = read_counter(counter, 'i', 'g', 'x')
  local is_same = epoch and same_life(fields[5]) and not is_behind(epoch, sequence, ARGV[1], floor)
    and not was_replaced(fields[6])
  if not epoch then
    epoch = begin_epoch(counter, floor_of(ARGV[1], floor), ARGV[2])
  elseif is_same then
    redis.call('HSET', counter, 'i', ARGV[2])
  else
    taken_over = true
    local prior = digits(epoch) .. '-' .. digits(sequence)
    epoch = begin_epoch(counter, math.max(floor_of(ARGV[1], floor), epoch), ARGV[2])
    redis.call('HSET', counter, 'l', prior)
    local refused = whole(fields[7])
    if refused and epoch > refused then
      redis.call('HDEL', counter, 'x')
    end
    local live = ARGV[5] == 'repair' and not refused and live_replicas()
    if live then
      redis.call('HSET', counter, 'u', fields[4] or fields[3] or fields[1], 'w', live, 'm', digits(now))
    elseif ARGV[5] == 'trust' then
      redis.call('HSET', counter, 't', fields[3] or fields[1])
    else
      redis.call('HDEL', counter, 'u', 'w', 'm')
    end
  end
  if term > 0 and not (is_same and whole(fields[6])) then
    redis.call('HSET', counter, 'g', digits(term))
  end
  positions[index] = struct.pack('>I8I8', epoch, sequence)
end
redis.call('HSET', KEYS[1], 'p', ARGV[3], 'a', digits(now))
if taken_over or math.abs(now - tonumber(deployed[2] or 0)) > tonumber(ARGV[7]) then
  -- The times in the registry are of another clock, or may lag behind.
  redis.call('HSET', KEYS[1], 'k', digits(now))
end
return {'OK', now, table.concat(positions)}
