-- Lists the namespaces with an entry, a lease or an invalidation since the partition's epoch began.
-- Takes no sequence. ARGV: 8 limit of the list.
local most, names = tonumber(ARGV[8]), {}
local fields = redis.call('HGETALL', KEYS[1])
for index = 1, #fields, 2 do
  if fields[index]:sub(1, 2) == 'n:' and #names < most then
    names[#names + 1] = fields[index]:sub(3)
  end
end
return {'OK', epoch, sequence, names}
