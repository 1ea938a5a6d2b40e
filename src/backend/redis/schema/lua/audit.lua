-- Publishes all counters back to the replica, and renews its registration. KEYS counters of a group
-- of partitions. ARGV: 1 position that the replica has seen of each partition (16 bytes each), 2
-- identity, 3 number of partitions of the deployment, 4 echo channel, 5 head of the echo, 6 numbers
-- of the partitions (2 bytes each), 7 field of the replica in the registry, 8 longest pause between
-- audits (microseconds). Writes before it publishes, so that a demoted primary refuses.
local deployed = registry_of(KEYS[1])
if deployed[1] and deployed[1] ~= ARGV[3] then
  return {'PARTITIONS', tonumber(deployed[1])}
end
local echo = {ARGV[5]}
for index, counter in ipairs(KEYS) do
  local floor = 16 * index - 15
  local epoch, sequence = read_counter(counter)
  if not epoch then
    epoch = begin_epoch(counter, floor_of(ARGV[1], floor), ARGV[2])
  elseif is_behind(epoch, sequence, ARGV[1], floor) then
    return {'BEHIND', now}
  end
  echo[index + 1] = ARGV[6]:sub(2 * index - 1, 2 * index) .. struct.pack('>I8I8', epoch, sequence)
end
local time = digits(now)
redis.call('HSET', KEYS[1], 'a', time, 'p', ARGV[3], ARGV[7], time)
if math.abs(now - tonumber(deployed[2] or 0)) > tonumber(ARGV[8]) then
  -- No replica has audited for a while, or the clock has jumped.
  redis.call('HSET', KEYS[1], 'k', time)
end
redis.call(PUBLISH, ARGV[4], table.concat(echo))
return {'OK', now}
