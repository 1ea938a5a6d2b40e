-- Lists the namespaces of which anything was stored, leased or invalidated since the number line began. Takes no step. ARGV: 8 how many are listed
-- at most.
local most, names = tonumber(ARGV[8]), {}
local fields = redis.call('HGETALL', KEYS[1])
for index = 1, #fields, 2 do
  if fields[index]:sub(1, 2) == 'n:' and #names < most then
    names[#names + 1] = fields[index]:sub(3)
  end
end
return {'OK', epoch, sequence, names}
