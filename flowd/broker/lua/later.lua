-- Prelude of the gate: writes that wait for the end of the script, so that many are one command.
--
-- writes_later(hashes) -> later, where `hashes` are those of its keys that are no sorted sets
--   later.put(key, member, value)   a score, or the value of a field
--   later.drop(key, member)
--   later.keep(key, member)         as it is in Redis
--   later.of(key) -> what waits: member -> value, or false for one that is dropped
--   later.write(key)                at once; without a key all of it
--   later.text(number)              of an integer, which costs a command less than the number
--
-- The last word on a member holds. Who reads what may wait looks into `of`, or writes first.
local function writes_later(hashes)
  local later = {}
  local waiting = setmetatable({}, { __index = function(all, key)
    all[key] = {}
    return all[key]
  end })

  function later.of(key) return waiting[key] end
  function later.put(key, member, value) waiting[key][member] = value end
  function later.drop(key, member) waiting[key][member] = false end
  function later.keep(key, member) waiting[key][member] = nil end

  local texts = {}
  function later.text(number)
    local text = texts[number]
    if not text then
      text = string.format('%.0f', number)
      texts[number] = text
    end
    return text
  end

  local function send(command, key, words, first)
    for from = first, #words, 2000 do
      redis.call(command, key, unpack(words, from, math.min(from + 1999, #words)))
    end
  end

  -- Redis packs small sets, and searches such a set from its beginning for each member. A
  -- long member makes a skip list or a hash table of it, for as long as the key is there.
  local MANY, LONG = 8, string.rep('-', 65)

  local function write_key(key)
    local is_hash = hashes[key]
    local set, drop = is_hash and 'HSET' or 'ZADD', is_hash and 'HDEL' or 'ZREM'
    local put, n = is_hash and { LONG, '' } or { '0', LONG }, 2
    local dropped, d = {}, 0
    for member, value in pairs(waiting[key]) do
      if not value then
        d = d + 1
        dropped[d] = member
      elseif is_hash then
        put[n + 1], put[n + 2], n = member, value, n + 2
      else
        if type(value) == 'number' then value = later.text(value) end
        put[n + 1], put[n + 2], n = value, member, n + 2
      end
    end
    waiting[key] = nil
    send(drop, key, dropped, 1)
    send(set, key, put, n > 2 * MANY and 1 or 3)
    if n > 2 * MANY then redis.call(drop, key, LONG) end
  end

  function later.write(key)
    if not key then
      for each in pairs(waiting) do write_key(each) end
    elseif rawget(waiting, key) then
      write_key(key)
    end
  end

  return later
end
