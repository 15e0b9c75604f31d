-- Prelude of the scripts that settle, renew or say progress.
--
-- fence(stream, group, consumer, first, last, n) -> held(id) -> delivery count, or nil
--
-- What this consumer holds of n entries that lie between two entry ids. A delivery is
-- ours only while owner and count are: XACK asks neither, and after a takeover and a
-- takeover back the owner alone looks right.
--
-- One range answers for a batch whose entries lie side by side. It ends after 2n + 16
-- rows, because an old entry in the batch may have thousands of running ones behind it;
-- what the range did not reach is then asked one by one. So the cost is that of the
-- batch, whatever else is pending.
local function fence(stream, group, consumer, first, last, n)
  local counts, most = {}, 2 * n + 16
  local rows = redis.call('XPENDING', stream, group, first, last, most, consumer)
  for _, p in ipairs(rows) do counts[p[1]] = p[4] end
  local complete = #rows < most
  return function(id)
    if not counts[id] and not complete then
      local p = redis.call('XPENDING', stream, group, id, id, 1, consumer)[1]
      counts[id] = p and p[4]
    end
    return counts[id]
  end
end
