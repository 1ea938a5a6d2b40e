-- Requests the lease of a key. KEYS[2] entry, KEYS[3] lease. ARGV: 8 id of the lease (16 bytes), 9
-- its duration (ms), 10 version of the live entry that is to be refreshed, '' for none. A lease is
-- its id, and the position and the time at which it was granted.
local head = head_of(KEYS[2])
if lives(KEYS[2], head) and head.version ~= ARGV[10] then
  return {'OK', epoch, sequence, 'PRESENT', 0}
end
local holder = lease_of(KEYS[3], tags_of(KEYS[2], head))
if holder then
  return {'OK', epoch, sequence, holder == NOBODY and 'PAUSED' or 'HELD', math.max(redis.call('PTTL', KEYS[3]), 1)}
end
list_namespace()
redis.call('SET', KEYS[3], ARGV[8] .. struct.pack('>I8I8I8', epoch, sequence, now), 'PX', ARGV[9])
if now + ARGV[9] * 1000 > leased_until then
  redis.call('HSET', KEYS[1], 'y', digits(now + ARGV[9] * 1000))
end
return {'OK', epoch, sequence, 'GRANTED', 0}
