-- Changes the time to live of a live entry. KEYS[2] entry. ARGV: 8 time to live (ms) from now on, 0
-- for no end, 9 'overwrite', 'extend' or 'shorten', 10 key as messages name it, 11 seal of the new end
-- for an entry that is signed, '' for none: it follows the entry's own seal. Announces only a
-- shorter life: L1 holds no entry for longer than it lived here. Returns the version of the entry,
-- the kind of the change, and the remaining time to live (ms, -1 for no end).
local SHORTENED = 4
local SIGNED, EXTENDED, ENCODING_AT = 16, 64, 79
local UNCHANGED, SET, MADE_SHORTER, CAPPED = 0, 1, 2, 3
local head = head_of(KEYS[2])
if not lives(KEYS[2], head) then
  return {'OK', epoch, sequence, ''}
end
local left, ttl = remaining(KEYS[2], head), tonumber(ARGV[8])
local asked = ttl
if head.slide > 0 then
  local longest = math.max(math.floor((head.slide - now) / 1000), 1)
  ttl = ttl == 0 and longest or math.min(ttl, longest)
end
-- A millisecond may be lost to rounding: that is no shorter life to announce.
if ttl ~= asked and ttl < left and left - ttl <= 1 then
  ttl = left
end
local longer = left ~= -1 and (ttl == 0 or ttl > left)
local shorter = ttl ~= 0 and (left == -1 or ttl < left)
if (ARGV[9] == 'extend' and not longer) or (ARGV[9] == 'shorten' and not shorter) then
  return {'OK', epoch, sequence, head.version, UNCHANGED, left}
end
-- The header counts the time to live from the time of writing: a read sees the end there. That of a
-- sliding entry keeps the extension by reads.
if head.slide == 0 then
  local since = ttl == 0 and 0 or math.floor((now - head.written) / 1000)
  redis.call('SETRANGE', KEYS[2], 26, struct.pack('>I8', ttl == 0 and 0 or math.max(ttl + since, 1)))
end
local encoding = head.bytes:byte(ENCODING_AT + 1)
if longer and ARGV[11] ~= '' and flag(encoding, SIGNED) then
  local again = flag(encoding, EXTENDED)
  local size = redis.call('SETRANGE', KEYS[2], ENCODING_AT, string.char(again and encoding or encoding + EXTENDED))
  redis.call('SETRANGE', KEYS[2], again and size - #ARGV[11] or size, ARGV[11])
end
if ttl == 0 then
  redis.call('PERSIST', KEYS[2])
else
  redis.call('PEXPIRE', KEYS[2], ttl + head.window)
  if head.source then
    remember_source(KEYS[2], head.source, ttl + head.window)
  end
end
if shorter then
  advance()
  announce(SHORTENED, covered(ARGV[10], tags_of(KEYS[2], head)))
end
return {'OK', epoch, sequence, head.version, shorter and MADE_SHORTER or ttl ~= asked and CAPPED or SET, ttl == 0 and -1 or ttl}
