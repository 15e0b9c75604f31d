-- Put dead letters back into their stream.
--
-- KEYS  stream  dead letters  control
-- ARGV  group  number of letter fields
--       then for each letter: letter id, job id, n, (name, value) * n/2, which take the
--       place of the entry's own fields; n = -1: as they were
-- Returns for each letter, up to the one that reaches the bytes, the new entry id, or false
--   if it is gone; '!...' if refused. The caller asks again for the others.
--
-- One step, because between two a crash would lose the job or run it twice. The letter's
-- own fields are the last ones and are cut by number: a job may use the same names. An
-- entry never changes, so what a caller made of its fields is not out of date.
--
-- A job that was to be cancelled, and died before its worker knew, is not cancelled now.
-- A redriven job may start whenever it is: its deadline was that of its first life.
--
-- Bounds: 1 MB of letters and the one that reaches it, of the letters that are named, 100
-- at most (`PAGE` in `deadletter`).
local refused = other_group(KEYS[1], ARGV[1])
if refused then return refused end
--@ begin
local cut, results = 2 * ARGV[2], {}
local i, bytes = 3, 0
while i <= #ARGV and bytes < 1000000 do
  local n = tonumber(ARGV[i + 2])
  local letter = redis.call('XRANGE', KEYS[2], ARGV[i], ARGV[i])[1]
  local result = false
  for _, value in ipairs(letter and letter[2] or {}) do bytes = bytes + #value end
  if letter and letter[2][1] == '_packed' then
    result = '!ERR the entry has more than 1,000 fields and cannot be added again'
  elseif letter and letter[2][#letter[2] - cut + 1] ~= '_dlq_id' then
    result = '!ERR the entry was not written by flowd'
  elseif letter then
    local fields, enqueued = {}, false
    local own, first, last = letter[2], 1, #letter[2] - cut
    if n >= 0 then own, first, last = ARGV, i + 3, i + 2 + n end
    for f = first, last, 2 do
      local name = own[f]
      if name ~= '_attempt' and name ~= '_deliveries' and name ~= '_error'
        and name ~= '_id' and name ~= '_expires' then
        fields[#fields + 1] = name
        fields[#fields + 1] = own[f + 1]
      end
      enqueued = enqueued or name == '_at'
    end
    if not enqueued then -- the new entry's id does not show it; the last field but one does
      fields[#fields + 1] = '_at'
      fields[#fields + 1] = letter[2][#letter[2] - 2]
    end
    fields[#fields + 1] = '_id'
    fields[#fields + 1] = ARGV[i + 1]
    --@ before
    local added = redis.pcall('XADD', KEYS[1], '*', unpack(fields))
    if type(added) == 'table' then
      -- A replica refuses all of them, so the caller has to ask another server.
      if added.err:match('%u+') == 'READONLY' then return added end
      result = '!' .. added.err
    else
      redis.call('XDEL', KEYS[2], ARGV[i])
      pcall(unmark, KEYS[3], ARGV[i + 1])
      --@ redriven
      result = added
    end
  end
  results[#results + 1] = result
  i = i + 3 + math.max(n, 0)
end
--@ finish
return results
