-- KEYS[2..] entries.
advance()
local removed = 0
for first = 2, #KEYS, 1000 do
  removed = removed + redis.call('UNLINK', unpack(KEYS, first, math.min(first + 999, #KEYS)))
end
announce()
return {'OK', epoch, sequence, removed}
