-- KEYS[2] entry. ARGV: 7 field of the namespace's last invalidation, 8 time to live (ms), 9 condition ('' none, 'absent', 'present', or a
-- version of 16 bytes), 10 what follows the version and time in the entry's header, 11 value, 12 '' for one step. Test builds may take it in two:
-- 'announce', and then the sequence that was announced.
if ARGV[9] ~= '' then
  local line = redis.call('HMGET', KEYS[1], 't', ARGV[7])
  local trusted_from = tonumber(line[1] or epoch)
  local dead_epoch, dead_sequence = string.match(line[2] or '0-0', '^(%d+)-(%d+)$')
  dead_epoch, dead_sequence = tonumber(dead_epoch), tonumber(dead_sequence)
  local head = redis.pcall('GETRANGE', KEYS[2], 0, 17)
  local current = ''
  if type(head) == 'string' and #head == 18 and head:sub(1, 2) == 'T\1' then
    local e, s = struct.unpack('>I8I8', head, 3)
    if e >= trusted_from and e <= epoch and (e > dead_epoch or (e == dead_epoch and s > dead_sequence)) then
      current = head:sub(3, 18)
    end
  end
  local wanted = (ARGV[9] == 'absent' and current == '') or (ARGV[9] == 'present' and current ~= '') or ARGV[9] == current
  if not wanted then
    return {'REFUSED', epoch, sequence, current}
  end
end
if ARGV[12] == '' then
  advance()
elseif ARGV[12] == 'announce' then
  advance()
  announce()
  return {'OK', epoch, sequence}
else
  sequence = tonumber(ARGV[12])
end
redis.call('SET', KEYS[2], 'T\1' .. struct.pack('>I8I8I8', epoch, sequence, now) .. ARGV[10] .. ARGV[11], 'PX', ARGV[8])
if ARGV[12] == '' then
  announce()
end
return {'OK', epoch, sequence}
