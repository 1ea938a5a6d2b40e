-- First words on a connection. KEYS counters of all partitions. ARGV: 1 epoch floor, 2 identity of this primary, 3 number of partitions, 4
-- time (microseconds) without an audit after which a deployment of another number of partitions counts as gone.
-- A counter last seen on another primary, or in another life of this one, begins a new epoch.
local deployed = redis.call('HMGET', KEYS[1], 'p', 'a')
if deployed[1] and deployed[1] ~= ARGV[3] and now - tonumber(deployed[2] or 0) < tonumber(ARGV[4]) then
  return {'PARTITIONS', tonumber(deployed[1])}
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
