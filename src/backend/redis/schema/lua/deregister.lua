-- Removes a replica that answers no more from the registry. KEYS[1] counter of the registry. ARGV:
-- 1 field of the replica.
own('HDEL', KEYS[1], ARGV[1])
return {'OK', now}
