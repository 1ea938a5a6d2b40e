-- Claims the reclaim of a namespace's patterns. ARGV: 8 the replica (8 bytes), 9 duration of the
-- claim (microseconds).
if patterns == '' then
  return {'OK', epoch, sequence, 'NONE'}
end
local busy = struct.unpack('>I8', claimant) - now
if claimant:sub(9) ~= ARGV[8] and busy > 0 and busy <= tonumber(ARGV[9]) then
  return {'OK', epoch, sequence, 'HELD', busy}
end
claimant = struct.pack('>I8', now + tonumber(ARGV[9])) .. ARGV[8]
redis.call('HSET', KEYS[1], ARGV[7], record:sub(1, RECORD - 16) .. claimant .. patterns)
return {'OK', epoch, sequence, 'CLAIMED', list .. patterns}
