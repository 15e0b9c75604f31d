-- Prelude of the scripts that settle, renew or say progress.
--
-- fence(stream, group, consumer, first, last, n) -> held(id) -> delivery count, or nil
--
-- What this consumer holds of n entries that lie between two entry ids. A
-- delivery is ours only while owner and count are: XACK asks neither, and after a takeover
-- and a takeover back the owner alone looks right.
--
-- One range answers for a batch whose entries lie side by side. It ends after 2n rows,
-- because an old entry in the batch may have thousands of running ones behind it; what is
-- not in it is asked one by one. So the cost is that of the batch, whatever else is
-- pending.
local function fence(stream, group, consumer, first, last, n)
  local counts = {}
  local rows = redis.call('XPENDING', stream, group, first, last, 2 * n, consumer)
  for _, p in ipairs(rows) do counts[p[1]] = p[4] end
  return function(id)
    if not counts[id] then
      local p = redis.call('XPENDING', stream, group, id, id, 1, consumer)[1]
      counts[id] = p and p[4]
    end
    return counts[id]
  end
end
