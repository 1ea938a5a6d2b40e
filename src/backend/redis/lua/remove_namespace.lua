-- ARGV: 7 field of the namespace's last invalidation. Everything of it up to this position is dead.
advance()
redis.call('HSET', KEYS[1], ARGV[7], digits(epoch) .. '-' .. digits(sequence))
announce()
return {'OK', epoch, sequence}
