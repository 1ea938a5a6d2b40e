-- Removes entries, or marks them stale. ARGV: 8 'remove' or 'mark', then for each: its key as messages name it, and the version of its source
-- (8 bytes) or ''. KEYS for each entry: its name, and its lease's. Of a source's version is remembered for a while what the newest was.
local REMEMBERED = 300000
local REMOVED, MARKED = 2, 3
advance()
local changed, removed, gone = {}, {}, {}
local key = 2
for arg = 9, #ARGV, 2 do
  local name, lease, source = KEYS[key], KEYS[key + 1], ARGV[arg + 1]
  key = key + 2
  local head = head_of(name)
  local alive = lives(name, head)
  removed[#removed + 1] = alive and 1 or 0
  changed[#changed + 1] = covered(ARGV[arg], tags_of(name, head))
  if head and head.source and (source == '' or is_older(source, head.source)) then
    source = head.source
  end
  if ARGV[8] == 'mark' and head and not flag(head.flags, ONLY_SOURCE) and head.window > 0 and counts(head) then
    if head.marked == 0 then
      redis.call('SETRANGE', name, MARKED_AT, struct.pack('>I8', now))
    end
    if source ~= '' then
      redis.call('SETRANGE', name, 66, source)
      redis.call('SETRANGE', name, 78, string.char(flag(head.flags, HAS_SOURCE) and head.flags or head.flags + HAS_SOURCE))
    end
  elseif source ~= '' then
    local rest = string.rep('\0', 40) .. source .. string.rep('\0', 4) .. string.char(HAS_SOURCE + ONLY_SOURCE) .. string.rep('\0', 8)
    redis.call('SET', name, 'T\1' .. struct.pack('>I8I8I8', epoch, sequence, now) .. rest, 'PX', REMEMBERED)
  elseif head or redis.call('EXISTS', name) == 1 then
    gone[#gone + 1] = name
  end
  if now < leased_until then
    gone[#gone + 1] = lease
  end
end
for first = 1, #gone, 1000 do
  redis.call('UNLINK', unpack(gone, first, math.min(first + 999, #gone)))
end
announce(ARGV[8] == 'mark' and MARKED or REMOVED, table.concat(changed))
return {'OK', epoch, sequence, removed}
