-- Removes the claimed patterns from the list, unless the partition has begun another epoch since:
-- then entries may have come from another server. ARGV: 8 epoch, 9 list as it was claimed. Returns
-- the number of patterns that are still active.
local left = listed_in(patterns)
if digits(epoch) == ARGV[8] then
  local done = {}
  for _, pattern in ipairs(listed_in(ARGV[9]:sub(17))) do
    done[pattern[1]] = true
  end
  local kept = {}
  for _, pattern in ipairs(left) do
    -- A pattern that was invalidated again has another record.
    if not done[pattern[1]] then
      kept[#kept + 1] = pattern[1]
    end
  end
  if #kept < #left then
    redis.call('HSET', KEYS[1], ARGV[7], record:sub(1, 120) .. next_list() .. NEVER .. table.concat(kept))
  end
  left = kept
end
return {'OK', epoch, sequence, #left}
