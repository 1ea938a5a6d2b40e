-- KEYS counters of a group of partitions. ARGV: 1 epoch floor, 2 identity, 3 number of partitions of the deployment, 4 echo channel, 5 head
-- of the echo, 6 numbers of the partitions (2 bytes each), 7 field of the replica in the registry. Writes before it reads, so that a
-- primary that was demoted refuses.
local partitions = redis.call('HGET', KEYS[1], 'p')
if partitions and partitions ~= ARGV[3] then
  return {'PARTITIONS', tonumber(partitions)}
end
local time = digits(now)
redis.call('HSET', KEYS[1], 'a', time, 'p', ARGV[3], ARGV[7], time)
local echo = {ARGV[5]}
for index, counter in ipairs(KEYS) do
  local epoch, sequence = position(counter, ARGV[1], ARGV[2])
  echo[index + 1] = ARGV[6]:sub(2 * index - 1, 2 * index) .. struct.pack('>I8I8', epoch, sequence)
end
redis.call(PUBLISH, ARGV[4], table.concat(echo))
return {'OK', now}
