-- The run-time settings of all replicas: a hash of fields, and `revision`, which grows with every
-- change. KEYS[1] the hash. ARGV: 1 not-after (microseconds of Redis's clock), 2 revision that the
-- caller knows, 3 'set' or 'restore', 4 limit of fields, then each field and its value, '' to
-- delete it. A hash that is older than the caller's was lost, and has to be restored first. Returns
-- the revision and all fields.
local LONGEST = 65536

-- All fields. Deletes one that is longer than any that this service sets: it is foreign.
local function all_fields()
  local all, own = redis.call('HGETALL', KEYS[1]), {}
  for index = 1, #all, 2 do
    if #all[index] + #all[index + 1] > LONGEST then
      redis.call('HDEL', KEYS[1], all[index])
    else
      own[#own + 1], own[#own + 2] = all[index], all[index + 1]
    end
  end
  return own
end

if now > tonumber(ARGV[1]) then
  return {'LATE', now}
end
-- A revision is a number that the clock may have led to.
local function revision_of(text)
  local number = whole(text)
  return number and number <= now + HORIZON and number or 0
end

-- A hash with more fields than the limit is foreign.
if own('HLEN', KEYS[1]) > tonumber(ARGV[4]) + 1 then
  discard(KEYS[1])
end
local known, revision = revision_of(ARGV[2]), revision_of(own('HGET', KEYS[1], 'revision'))
local fields, removed = {}, {}
for arg = 5, #ARGV, 2 do
  if ARGV[arg + 1] == '' then
    removed[#removed + 1] = ARGV[arg]
  else
    fields[#fields + 1] = ARGV[arg]
    fields[#fields + 1] = ARGV[arg + 1]
  end
end
if ARGV[3] == 'restore' then
  if revision < known then
    redis.call('UNLINK', KEYS[1])
    revision = known
  else
    fields, removed = {}, {}
  end
elseif revision < known then
  return {'LOST', revision}
else
  local there = #all_fields() / 2
  if there + #fields / 2 > tonumber(ARGV[4]) then
    return {'FULL', there}
  end
  revision = math.max(now, revision + 1)
end
for first = 1, #fields, 1000 do
  redis.call('HSET', KEYS[1], unpack(fields, first, math.min(first + 999, #fields)))
end
for first = 1, #removed, 1000 do
  redis.call('HDEL', KEYS[1], unpack(removed, first, math.min(first + 999, #removed)))
end
redis.call('HSET', KEYS[1], 'revision', digits(revision))
return {'OK', revision, all_fields()}
