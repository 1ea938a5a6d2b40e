-- Releases a lease. KEYS[2] lease. ARGV: 8 id of the lease (16 bytes), 9 time (ms) for which no
-- caller gets it, 10 key as messages name it, 11 'failed' if the fill failed. The message that
-- wakes the waiters has no position: it changes no entry.
local RELEASED, FAILED = 5, 6
if ARGV[8] == NOBODY or lease_of(KEYS[2]) ~= ARGV[8] then
  return {'OK', epoch, sequence, 0}
end
if ARGV[9] == '0' then
  redis.call('UNLINK', KEYS[2])
else
  redis.call('SET', KEYS[2], NOBODY .. struct.pack('>I8I8I8', epoch, sequence, now), 'PX', ARGV[9])
  if now + ARGV[9] * 1000 > leased_until then
    redis.call('HSET', KEYS[1], 'y', digits(now + ARGV[9] * 1000))
  end
end
announce(ARGV[11] == 'failed' and FAILED or RELEASED, covered(ARGV[10], ''))
return {'OK', epoch, sequence, 1}
