-- Removes entries, or marks them stale. ARGV: 8 'remove' or 'mark', then for each entry: its key as
-- messages name it, and its source version (8 bytes) or ''. KEYS for each entry: its name, its
-- lease's, and that of its remembered source version: the newest one, for a while.
local REMEMBERED = 300000
local REMOVED, MARKED = 2, 3
advance()
local changed, removed, gone = {}, {}, {}
local key = 2
for arg = 9, #ARGV, 2 do
  local name, lease, remembered = KEYS[key], KEYS[key + 1], KEYS[key + 2]
  local source = ARGV[arg + 1] ~= '' and ARGV[arg + 1]
  key = key + 3
  local head = head_of(name)
  removed[#removed + 1] = lives(name, head) and 1 or 0
  changed[#changed + 1] = covered(ARGV[arg], tags_of(name, head) .. unknown_tags(head))
  if source or (head and head.source) then
    local newest = newest_source(head, remembered)
    if source and (not newest or is_older(newest, source)) then
      newest = source
    end
    redis.call('SET', remembered, newest, 'PX', REMEMBERED)
  end
  if ARGV[8] == 'mark' and head and head.window > 0 and counts(head) then
    if head.marked == 0 then
      redis.call('SETRANGE', name, MARKED_AT, struct.pack('>I8', now))
      redis.call('PEXPIRE', name, head.window, 'LT')
    end
  elseif head or redis.call('EXISTS', name) == 1 then
    gone[#gone + 1] = name
  end
  if leased_until > 0 then
    gone[#gone + 1] = lease
  end
end
for first = 1, #gone, 1000 do
  redis.call('UNLINK', unpack(gone, first, math.min(first + 999, #gone)))
end
announce(ARGV[8] == 'mark' and MARKED or REMOVED, table.concat(changed))
return {'OK', epoch, sequence, removed}
