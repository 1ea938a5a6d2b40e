-- Settles a takeover. KEYS[1] counter. ARGV: 1 epoch that began, 2 field of the replica, 3 'look',
-- 'done' (this replica has invalidated again), 'drop' (entries from before are dropped) or 'cold'
-- (the same, unless it is settled), 4 longest time (microseconds) to wait for replicas. Returns
-- whether it is settled, the position at which the server took over, and the first epoch whose
-- entries count.
local epoch, _, fields = read_counter(KEYS[1], 'w', 'm', 'l')
local awaited, since, prior = fields[5], whole(fields[6]), fields[7]
local settled = not fields[4]
local e, s = string.match(prior or '0-0', '^(%d+)-(%d+)$')
if epoch and not (whole(e) and whole(s) and (settled or (awaited and since))) then
  discard(KEYS[1])
  epoch = nil
end
if not epoch or digits(epoch) ~= ARGV[1] then
  return {'EPOCH', epoch or 0}
end
if ARGV[3] == 'drop' or (ARGV[3] == 'cold' and not settled) then
  redis.call('HSET', KEYS[1], 't', fields[1])
  settled = true
elseif ARGV[3] == 'done' and not settled then
  local left = string.gsub(awaited, ARGV[2] .. ';', '')
  if left == '' or math.abs(now - since) > tonumber(ARGV[4]) then
    redis.call('HSET', KEYS[1], 't', fields[4])
    settled = true
  else
    redis.call('HSET', KEYS[1], 'w', left)
  end
end
if settled then
  redis.call('HDEL', KEYS[1], 'u', 'w', 'm')
end
return {'OK', settled and 1 or 0, prior or '', fields[4] or fields[3] or fields[1]}
