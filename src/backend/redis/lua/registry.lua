
-- The replicas registered with a counter: their fields, and the time of their last audit.
local function registered(counter)
  local members = {}
  local fields = redis.call('HGETALL', counter)
  for index = 1, #fields, 2 do
    if fields[index]:sub(1, 2) == 'r:' then
      members[#members + 1] = {fields[index], tonumber(fields[index + 1])}
    end
  end
  return members
end
