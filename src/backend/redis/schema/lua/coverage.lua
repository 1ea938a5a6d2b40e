-- Returns how an entry is covered by prefixes and tags. KEYS[2] its name. ARGV: 4 its version and
-- time of writing, 5 its tags.
local e, s, written = struct.unpack('>I8I8I8', ARGV[4])
local gone, marked = coverage(e, s, written, KEYS[2], ARGV[5])
return {'OK', gone and 1 or 0, marked and digits(marked) or ''}
