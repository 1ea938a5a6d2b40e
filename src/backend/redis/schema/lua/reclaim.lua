-- Removes or marks entries and leases whose selectors were invalidated: KEYS from 2 on. Takes no
-- sequence: the invalidation was announced.
local gone = {}
for index = 2, #KEYS do
  local is_lease = string.match(KEYS[index], '}:(%a):') == 'l'
  local head = not is_lease and head_of(KEYS[index])
  if is_lease and not lease_of(KEYS[index]) then
    -- Void because of a pattern, which will be forgotten.
    gone[#gone + 1] = KEYS[index]
  elseif head then
    local is_gone, marked = coverage_of(head)
    local window = marked and head.window - math.max(math.ceil((now - marked) / 1000), 0)
    if is_gone or (window and window <= 0) then
      gone[#gone + 1] = KEYS[index]
      if head.source then
        remember_source(KEYS[index], head.source, 0)
      end
    elseif window and head.marked == 0 then
      redis.call('SETRANGE', KEYS[index], MARKED_AT, struct.pack('>I8', marked))
      redis.call('PEXPIRE', KEYS[index], window, 'LT')
    end
  end
end
if #gone > 0 then
  redis.call('UNLINK', unpack(gone))
end
return {'OK', epoch, sequence, #gone}
