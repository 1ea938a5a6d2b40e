-- KEYS counters of all partitions. ARGV: 1 epoch floor, 2 identity, 3 number of partitions, 4 echo channel, 5 head of the echo, 6 nonce
-- (8 bytes). Writes before it reads, so that a primary that was demoted refuses.
local partitions = redis.call('HGET', KEYS[1], 'p')
if partitions and partitions ~= ARGV[3] then
  return {'PARTITIONS', tonumber(partitions)}
end
redis.call('HSET', KEYS[1], 'a', string.format('%.0f', now), 'p', ARGV[3])
local echo = {ARGV[5], ARGV[6]}
for index, counter in ipairs(KEYS) do
  local epoch, sequence = position(counter, ARGV[1], ARGV[2])
  echo[index + 2] = struct.pack('>I8I8', epoch, sequence)
end
redis.call('PUBLISH', ARGV[4], table.concat(echo))
return {'OK', now}
