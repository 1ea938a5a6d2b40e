-- Does to entries what was done to what selects them: KEYS from 2 on. No step: that was announced.
local gone = {}
for index = 2, #KEYS do
  local head = head_of(KEYS[index])
  if head then
    local is_gone, marked = coverage_of(head)
    local window = marked and head.window - math.max(math.ceil((now - marked) / 1000), 0)
    if is_gone or (window and window <= 0) then
      gone[#gone + 1] = KEYS[index]
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
