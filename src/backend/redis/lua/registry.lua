
-- The replicas registered with a counter: their fields, and the time of their last audit. Those long gone are taken out.
local function registered(counter)
  local latest, members = 0, {}
  local fields = redis.call('HGETALL', counter)
  for index = 1, #fields, 2 do
    if fields[index]:sub(1, 2) == 'r:' then
      local time = tonumber(fields[index + 1])
      latest = math.max(latest, time)
      members[#members + 1] = {fields[index], time}
    end
  end
  local live = {}
  for _, member in ipairs(members) do
    if latest - member[2] < 60000000 then
      live[#live + 1] = member
    else
      redis.call('HDEL', counter, member[1])
    end
  end
  return live, latest
end
