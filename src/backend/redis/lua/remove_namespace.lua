-- ARGV: 7 field of the namespace's last invalidation. Everything of it up to this sequence is dead.
advance()
redis.call('HSET', KEYS[1], ARGV[7], sequence)
announce()
return {'OK', epoch, sequence}
