-- Reads the invalidations of a namespace. Takes no sequence. KEYS[1] counter. ARGV: 1 namespace, 2
-- its field of the counter, 3 epoch.
local namespace = ARGV[1]
local fields = redis.pcall('HMGET', KEYS[1], 'e', ARGV[2])
if fields.err or fields[1] ~= ARGV[3] then
  return {'EPOCH', now}
end
local record = fields[2] or ''
