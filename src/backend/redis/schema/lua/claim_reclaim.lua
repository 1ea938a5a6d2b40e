-- Claims the work at the patterns of a namespace. ARGV: 8 the replica (8 bytes), 9 for how long (microseconds).
if patterns == '' then
  return {'OK', epoch, sequence, 'NONE'}
end
local busy = struct.unpack('>I8', worker) - now
if worker:sub(9) ~= ARGV[8] and busy > 0 and busy <= tonumber(ARGV[9]) then
  return {'OK', epoch, sequence, 'HELD', busy}
end
worker = struct.pack('>I8', now + tonumber(ARGV[9])) .. ARGV[8]
redis.call('HSET', KEYS[1], ARGV[7], record:sub(1, RECORD - 16) .. worker .. patterns)
return {'OK', epoch, sequence, 'CLAIMED', list .. patterns}
