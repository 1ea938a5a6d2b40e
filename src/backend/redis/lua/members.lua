-- KEYS[1] counter of the registry. Returns the age of the registry, then each replica with the time since its last audit, microseconds. A
-- replica that has registered before the registry began is not listed; it has not audited itself since.
local born = tonumber(redis.call('HGET', KEYS[1], 'b') or now)
local members = {}
for _, member in ipairs(registered(KEYS[1])) do
  local age = now - member[2]
  if age > 60000000 then
    redis.call('HDEL', KEYS[1], member[1])
  elseif age < -1000000 then
    -- The clock went back: whoever lives registers again.
    redis.call('HDEL', KEYS[1], member[1])
    born = now
    redis.call('HSET', KEYS[1], 'b', digits(born))
  else
    members[#members + 1] = member[1]
    members[#members + 1] = math.max(0, age)
  end
end
return {'OK', math.max(0, now - born), unpack(members)}
