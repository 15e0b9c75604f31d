-- Put dead letters back into their stream.
--
-- KEYS  stream  dead letters
-- ARGV  group  number of letter fields  (letter id, job id)...
-- Returns for each letter the new entry id, or false if it is gone; '!...' if refused.
--
-- One step, because between two a crash would lose the job or run it twice. The letter's
-- own fields are the last ones and are cut by number: a job may use the same names.
local refused = other_group(KEYS[1], ARGV[1])
if refused then return refused end
local cut, results = 2 * ARGV[2], {}
for i = 3, #ARGV, 2 do
  local letter = redis.call('XRANGE', KEYS[2], ARGV[i], ARGV[i])[1]
  local result = false
  if letter and letter[2][1] == '_packed' then
    result = '!ERR the entry has more than 1,000 fields and cannot be added again'
  elseif letter and letter[2][#letter[2] - cut + 1] ~= '_dlq_id' then
    result = '!ERR the entry was not written by flowd'
  elseif letter then
    local fields, enqueued = {}, false
    for f = 1, #letter[2] - cut, 2 do
      local name = letter[2][f]
      if name ~= '_attempt' and name ~= '_deliveries' and name ~= '_id' then
        fields[#fields + 1] = name
        fields[#fields + 1] = letter[2][f + 1]
      end
      enqueued = enqueued or name == '_at'
    end
    if not enqueued then -- the new entry's id does not tell; the last field but one does
      fields[#fields + 1] = '_at'
      fields[#fields + 1] = letter[2][#letter[2] - 2]
    end
    fields[#fields + 1] = '_id'
    fields[#fields + 1] = ARGV[i + 1]
    local added = redis.pcall('XADD', KEYS[1], '*', unpack(fields))
    if type(added) == 'table' then
      result = '!' .. added.err
    else
      redis.call('XDEL', KEYS[2], ARGV[i])
      result = added
    end
  end
  results[#results + 1] = result
end
return results
