-- First words on a connection. KEYS counters of all partitions. ARGV: 1 epoch floor, 2 identity of this primary, 3 number of partitions.
-- A counter last seen on another primary, or in another life of this one, begins a new epoch.
local partitions = redis.call('HGET', KEYS[1], 'p')
if partitions and partitions ~= ARGV[3] then
  return {'PARTITIONS', tonumber(partitions)}
end
local highest = 0
for _, counter in ipairs(KEYS) do
  local line = redis.call('HMGET', counter, 'e', 'i')
  local epoch
  if not line[1] then
    epoch = begin_epoch(counter, ARGV[1], ARGV[2])
  elseif line[2] ~= ARGV[2] then
    epoch = begin_epoch(counter, math.max(tonumber(ARGV[1]), tonumber(line[1])), ARGV[2])
  else
    epoch = tonumber(line[1])
  end
  highest = math.max(highest, epoch)
end
redis.call('HSET', KEYS[1], 'p', ARGV[3])
return {'OK', highest, now}
