-- Invalidates a whole namespace: everything of it before this position is dead.
local REMOVED = 2
advance()
redis.call('HSET', KEYS[1], ARGV[7], digits(epoch) .. '-' .. digits(sequence))
announce(REMOVED, ARGV[8])
return {'OK', epoch, sequence}
