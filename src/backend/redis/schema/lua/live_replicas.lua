-- Lists the registered replicas. KEYS[1] counter of the registry. ARGV: 1 longest pause between
-- audits (microseconds). Returns the time for which the registry can be trusted, then each replica
-- with the time since its last audit, microseconds. A replica that registered before that time may
-- be missing.
local registry = registry_of(KEYS[1])
local trusted = math.max(tonumber(registry[3] or now), tonumber(registry[4] or 0))
if math.abs(now - tonumber(registry[2] or 0)) > tonumber(ARGV[1]) then
  -- No replica audits, or the clock has jumped.
  trusted = now
end
local members = {}
for _, member in ipairs(registered(KEYS[1])) do
  local age = now - member[2]
  if math.abs(age) > 60000000 then
    redis.call('HDEL', KEYS[1], member[1])
  else
    members[#members + 1] = member[1]
    members[#members + 1] = math.max(0, age)
  end
end
return {'OK', math.max(0, now - trusted), unpack(members)}
