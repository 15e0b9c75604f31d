-- Prelude of the gate: writes that wait for the end of the script, so that many are one command.
--
-- writes_later(hashes) -> later, where `hashes` are those of its keys that are no sorted sets
--   later.put(key, member, value)   a score, or the value of a field
--   later.drop(key, member)
--   later.of(key) -> what waits: member -> value, or false for one that is dropped
--   later.write(key)                at once; without a key all of it
--
-- The last word on a member holds. Who reads what may wait looks into `of`, or writes first.
local function writes_later(hashes)
  local later, waiting = {}, {}

  function later.of(key)
    waiting[key] = waiting[key] or {}
    return waiting[key]
  end

  function later.put(key, member, value) later.of(key)[member] = value end

  function later.drop(key, member) later.of(key)[member] = false end

  local function send(command, key, words)
    for from = 1, #words, 2000 do
      redis.call(command, key, unpack(words, from, math.min(from + 1999, #words)))
    end
  end

  function later.write(key)
    if not key then
      for each in pairs(waiting) do later.write(each) end
      return
    end
    local changed, added, dropped = waiting[key], {}, {}
    if not changed then return end
    waiting[key] = nil
    for member, value in pairs(changed) do
      if value then
        added[#added + 1] = hashes[key] and member or value
        added[#added + 1] = hashes[key] and value or member
      else
        dropped[#dropped + 1] = member
      end
    end
    send(hashes[key] and 'HDEL' or 'ZREM', key, dropped)
    send(hashes[key] and 'HSET' or 'ZADD', key, added)
  end

  return later
end
