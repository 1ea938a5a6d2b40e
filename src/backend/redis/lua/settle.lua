-- The settlement of a takeover. KEYS[1] counter. ARGV: 1 epoch that began, 2 field of the replica, 3 'look', 'done' (this replica has seen to
-- it), 'drop' (entries from before are to be forgotten) or 'cold' (the same, unless it is settled), 4 longest time (microseconds) that replicas are waited for.
-- Returns whether it is settled, and the position at which the server took over.
local line = redis.call('HMGET', KEYS[1], 'e', 'u', 'w', 'm', 'l')
if line[1] ~= ARGV[1] then
  return {'EPOCH', tonumber(line[1] or 0)}
end
local settled = not line[2]
if ARGV[3] == 'drop' or (ARGV[3] == 'cold' and not settled) then
  redis.call('HSET', KEYS[1], 't', line[1])
  settled = true
elseif ARGV[3] == 'done' and not settled then
  local awaited = string.gsub(line[3], ARGV[2] .. ';', '')
  if awaited == '' or math.abs(now - tonumber(line[4])) > tonumber(ARGV[4]) then
    redis.call('HSET', KEYS[1], 't', line[2])
    settled = true
  else
    redis.call('HSET', KEYS[1], 'w', awaited)
  end
end
if settled then
  redis.call('HDEL', KEYS[1], 'u', 'w', 'm')
end
return {'OK', settled and 1 or 0, line[5] or ''}
