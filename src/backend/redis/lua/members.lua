-- KEYS[1] counter of the registry. Returns each replica with the time since its last audit, microseconds.
local reply = {'OK'}
for _, member in ipairs(registered(KEYS[1])) do
  reply[#reply + 1] = member[1]
  reply[#reply + 1] = math.max(0, now - member[2])
end
return reply
