-- Writes plain entries of many callers: without condition, tags, source version, sliding expiry and
-- request id. A text of its own, without the other parts: it runs for almost every write. KEYS for
-- each step: the counter of its partition, then the names of its entries. ARGV: 1 earliest not-after
-- of the steps (microseconds of Redis's clock), 2 identity, then for each step: its facts (number of
-- entries, size of a MAC in the message, not-after, sequence that the replica has seen, epoch, epoch
-- as text, field of the namespace, channel), head of the message, for each entry the time (ms) that it
-- is kept (0 no end) and its header and value, and the message after its position and time. An entry
-- larger than LARGE has room for its beginning: Lua reads every byte of a string that it builds. The
-- reply has a sequence for each step; 0 for one that was left undone because write.lua has to judge it.
local LIMIT, HORIZON, LARGE, HEAD = 9007199254740992, 86400000000, 512, 87
local call, pcall, pack, unpack = redis.call, redis.pcall, struct.pack, struct.unpack
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]
local is_late, identity, time = now > tonumber(ARGV[1]), ARGV[2], pack('>I8', now)

-- Whether no pattern is active, and all positions in the namespace's field are numbers.
local function is_sound(record)
  return #record == 152 and math.max(unpack('>I8I8I8I8xxxxxxxxI8I8I8I8I8I8I8I8I8I8I8I8', record)) < LIMIT
end

-- Whether the end of the last lease is a number.
local function is_time(text)
  return text ~= '' and #text <= 16 and not string.find(text, '%D') and tonumber(text) <= LIMIT
end

-- The tags of the stored entry, unknown ones if there is none: a replica may still hold it.
local function tags_of(name)
  local head = pcall('GETRANGE', name, 0, HEAD - 1)
  if type(head) ~= 'string' or #head < HEAD or head:sub(1, 2) ~= 'T\1' then
    return '\0'
  end
  local size = unpack('>I2', head, 85)
  return size == 0 and '' or call('GETRANGE', name, HEAD, HEAD + size - 1)
end

-- The message after its position and time, with the tags that the entries have had: in place of the
-- empty ones after each key, and its MAC if it has one.
local function with_tags(message, first, last, mac)
  local at = 3 + message:byte(2)
  local parts = {message:sub(1, at - 1)}
  for entry = first, last do
    local size, tags = 2 + unpack('>I2', message, at) + mac, tags_of(KEYS[entry])
    parts[#parts + 1] = message:sub(at, at + size - 1) .. pack('>I2', #tags) .. tags
    at = at + size + 2
  end
  return table.concat(parts)
end

local sequences, step, key, arg = {}, 0, 1, 3
while KEYS[key] do
  local counter = KEYS[key]
  local count, mac, not_after, seen, epoch, text, field, channel = unpack('>I2I2I8I8c8I2c0I2c0I2c0', ARGV[arg])
  local fields, sequence = pcall('HMGET', counter, 'e', 'i', 'y', 'z', field), 0
  local leased, record = fields[3], fields[5]
  if fields[1] == text and tonumber(text) <= now + HORIZON and fields[2] == identity and not (is_late and now > not_after)
      and (not record or record == '' or is_sound(record)) and (not leased or is_time(leased)) then
    sequence = pcall('HINCRBY', counter, 's', '1')
    if type(sequence) ~= 'number' then
      sequence = 0
    elseif sequence <= seen or sequence >= LIMIT then
      call('HINCRBY', counter, 's', '-1')
      sequence = 0
    end
  end
  if sequence > 0 then
    local version, rest = epoch .. pack('>I8', sequence) .. time, ARGV[arg + 2 + 2 * count]
    if fields[4] then
      rest = with_tags(rest, key + 1, key + count, mac)
    end
    if not record then
      call('HSET', counter, field, '')
    end
    for entry = 1, count do
      local name, kept, bytes = KEYS[key + entry], ARGV[arg + 2 * entry], ARGV[arg + 1 + 2 * entry]
      local is_large = #bytes > LARGE
      if not is_large then
        bytes = 'T\1' .. version .. bytes
      end
      if kept == '0' then
        call('SET', name, bytes)
      else
        call('SET', name, bytes, 'PX', kept)
      end
      if is_large then
        call('SETRANGE', name, 2, version)
      end
      if leased then
        call('UNLINK', (string.gsub(name, '}:v:', '}:l:', 1)))
      end
    end
    call(PUBLISH, channel, ARGV[arg + 1] .. version .. rest)
  end
  step, key, arg = step + 1, key + 1 + count, arg + 3 + 2 * count
  sequences[step] = sequence
end
return sequences
