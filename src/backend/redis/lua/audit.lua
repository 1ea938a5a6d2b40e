-- KEYS counters of a group of partitions. ARGV: 1 epoch floor, 2 identity, 3 number of partitions of the deployment, 4 echo channel, 5 head
-- of the echo, 6 numbers of the partitions (2 bytes each), 7 field of the replica in the registry, 8 longest pause between audits
-- (microseconds). Writes before it reads, so that a primary that was demoted refuses.
local deployed = redis.call('HMGET', KEYS[1], 'p', 'a')
if deployed[1] and deployed[1] ~= ARGV[3] then
  return {'PARTITIONS', tonumber(deployed[1])}
end
local time = digits(now)
redis.call('HSET', KEYS[1], 'a', time, 'p', ARGV[3], ARGV[7], time)
if math.abs(now - tonumber(deployed[2] or 0)) > tonumber(ARGV[8]) then
  -- Nobody has audited for a while, or the clock has jumped.
  redis.call('HSET', KEYS[1], 'k', time)
end
local echo = {ARGV[5]}
for index, counter in ipairs(KEYS) do
  local epoch, sequence = position(counter, ARGV[1], ARGV[2])
  echo[index + 1] = ARGV[6]:sub(2 * index - 1, 2 * index) .. struct.pack('>I8I8', epoch, sequence)
end
redis.call(PUBLISH, ARGV[4], table.concat(echo))
return {'OK', now}
