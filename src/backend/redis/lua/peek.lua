-- Looks at what was invalidated, and takes no step. KEYS[1] counter. ARGV: 1 namespace, 2 its field of the counter, 3 epoch.
local namespace = ARGV[1]
local line = {redis.call('HGET', KEYS[1], 'e'), [7] = redis.call('HGET', KEYS[1], ARGV[2])}
if line[1] ~= ARGV[3] then
  return {'EPOCH', now}
end
