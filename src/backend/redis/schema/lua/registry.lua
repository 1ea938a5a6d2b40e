
-- The replicas registered with a counter: their fields, and the time of their last audit. Deletes a
-- field without a time.
local function registered(counter)
  local members = {}
  local fields = redis.call('HGETALL', counter)
  for index = 1, #fields, 2 do
    if fields[index]:sub(1, 2) == 'r:' then
      local audited = whole(fields[index + 1])
      if audited then
        members[#members + 1] = {fields[index], audited}
      else
        redis.call('HDEL', counter, fields[index])
        repaired[#repaired + 1] = counter .. ' ' .. fields[index]
      end
    end
  end
  return members
end
