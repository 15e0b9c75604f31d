-- Prelude of every script that settles or renews.
--
-- held(stream, group, consumer, first, last) -> { [entry id] = delivery count }
--
-- What this consumer owns between two entry ids. A delivery is ours only while owner
-- and count are: XACK asks neither, and after a takeover and a takeover back the owner
-- alone looks right. One range for a whole batch, paged to its end: a short COUNT
-- would judge held jobs lost.
local function held(stream, group, consumer, first, last)
  local counts, from = {}, first
  while true do
    local page = redis.call('XPENDING', stream, group, from, last, 1000, consumer)
    for _, p in ipairs(page) do counts[p[1]] = p[4] end
    if #page < 1000 then return counts end
    from = '(' .. page[1000][1]
  end
end

-- A primary that became a replica answers from its own past. A write that changes nothing
-- makes it refuse. Once a script has written, Redis lets it have memory: it comes before
-- what only moves a job and behind what lets the server grow.
local function refuse_as_replica(stream, group)
  redis.call('XACK', stream, group, '0-0')
end
